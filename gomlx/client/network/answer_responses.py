"""What hosts and the shared tier return → entries of rows, checked."""

import re
from collections.abc import Hashable, Mapping
from typing import Any

import orjson

from gomlx.client.answer import AnswerEntry, AnswerOrigin
from gomlx.client.local.client_model import ClientModel
from gomlx.client.local.rows import MissingRow
from gomlx.client.metrics import REDIS, SERVER
from gomlx.client.network.transport import Response
from gomlx.contract.answer import SharedAnswers
from gomlx.errors import BadResponse

_HIT = re.compile(r"^gomlx; hit(?:; detail=(\w+))?")
_MISFIT = (KeyError, TypeError, ValueError, AttributeError)


def shared_entry(
    client_model: ClientModel, space: SharedAnswers, key: Hashable, value: bytes
) -> AnswerEntry | None:
    """Return a row's entry of a value in the shared tier; None if it is not an answer.

    space: what says so, for the rows that the value is for. key: the row's.
    Another program may have written anything there; no row fails because of it.
    """
    origin = AnswerOrigin(client_model.version, REDIS, True)
    try:
        if space.is_answer(value):
            return client_model.entry_of(key, value, origin)
    except (KeyError, TypeError, ValueError):
        pass
    return None


def entries_of_response(
    client_model: ClientModel, rows: Mapping[Hashable, MissingRow], response: Response
) -> list[AnswerEntry]:
    """Return the entries of a request's rows, in order.

    Raises BadResponse for what is not an answer to them.
    """
    size = len(rows)
    try:
        document = orjson.loads(response.body)
        version = client_model.version_in(response.headers, document)
        answers = _answers(document, version, size)
        # Another version may have other outputs.
        if version == client_model.version and not all(
            map(client_model.space(rows).admits, map(client_model.outputs_of, answers))
        ):
            raise ValueError("not the outputs of the model")
        origin = _origin(version, size, response.headers.get("cache-status", ""))
        read = client_model.reader.entry
        return [read(orjson.dumps(answer), origin, answer) for answer in answers]
    except _MISFIT as error:
        excerpt = response.body[:100].decode("utf-8", "replace")
        raise BadResponse(f"{error}: {excerpt}") from None


def _answers(document: Any, version: str, size: int) -> list[Any]:
    answers = document["data"] if size > 1 else [document["data"]]
    if document["status"] != "ok" or not version:
        raise ValueError("no answer of a gomlx service")
    if type(answers) is not list or len(answers) != size:
        raise ValueError(f"not the answers of {size} rows")
    return answers


def _origin(version: str, size: int, cache_status: str) -> AnswerOrigin:
    hit = _HIT.match(cache_status)
    if size > 1:
        return AnswerOrigin(version, SERVER, hit is not None)
    return AnswerOrigin(version, hit[1] or SERVER if hit else "model", hit is not None)
