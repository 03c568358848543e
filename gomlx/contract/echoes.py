"""Outputs that repeat an input, such as the id of a row that only goes through a model.

They are part of no key and of no kept answer, or an id would make every row unique: the
answer of a row gets them back from the row itself.
"""

from collections.abc import Sequence

import orjson

from gomlx.contract.signature import Signature
from gomlx.contract.tensor import Row
from gomlx.contract.values.binary import to_base64
from gomlx.errors import InvalidInput


class Echoes:
    """The outputs of a version that repeat inputs."""

    def __init__(self, signature: Signature) -> None:
        names = signature.names
        self._members = [
            (names.index(echo.input), echo.input, orjson.dumps(echo.output.name))
            for echo in signature.echoes
        ]

    def of(self, rows: Sequence[Row]) -> list[bytes]:
        """Return the members of each row's answer, such as `"id":"a","n":1`.

        Rows are checked, and not canonical. Raises InvalidInput for a lone surrogate.
        """
        return [
            b",".join(
                [name + b":" + _json(row[i], input) for i, input, name in self._members]
            )
            for row in rows
        ]


def completed(answers: Sequence[bytes], members: Sequence[bytes]) -> list[bytes]:
    """Return answers with the members of their rows at the end."""
    pairs = zip(answers, members, strict=True)
    return [b"%b,%b}" % (answer[:-1], more) for answer, more in pairs]


def _json(value: object, name: str) -> bytes:
    if isinstance(value, bytes):
        value = to_base64(value)
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        raise InvalidInput("expected text, got a lone surrogate", name) from None
