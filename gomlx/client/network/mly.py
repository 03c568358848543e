"""A model of an mly server, which has no contract: how it is learned, sent and read.

Discovery is meta/config and meta/dictionary. The version is the dictionary's hash,
which is all that mly reports: new weights with the same vocabulary show only once kept
answers expire. Keys are for the local cache only. Where it is not clear that two values
are the same for the model, they have two keys.
"""

import gzip
from collections.abc import Mapping, Sequence
from decimal import Decimal
from itertools import count
from typing import Any

import orjson

from gomlx.client.local.client_model import ClientModel, narrowed
from gomlx.client.local.rows import PlainRow
from gomlx.client.network.sender import Sender
from gomlx.client.network.transport import Request, Response
from gomlx.client.options import Options
from gomlx.contract.canonical import Auxiliary, Exact, Kind, Rounded, Vocabulary
from gomlx.contract.document import Contract
from gomlx.contract.dtypes import ANY
from gomlx.contract.signature import Signature
from gomlx.contract.tensor import Scalar, Tensor
from gomlx.errors import BadResponse

_DTYPES = {"float": "float32", "int": "int64"}
_MAX_ROWS = 4096
_MAX_BODY_BYTES = (128 << 10) - 1  # its buffer; one that is full, HTTP/2 refuses
_DEFAULT_TTL_MS = 3_600_000  # for a time of 0


class MlyModel(ClientModel):
    """A ClientModel of what an mly server serves."""

    def __init__(self, contract: Contract, options: Options) -> None:
        super().__init__(contract, options)
        signature = contract.signature
        self._inputs = [
            _MlyInput(tensor, kind)
            for tensor, kind in zip(signature.fields, contract.kinds, strict=True)
        ]

    def request_body(self, plain: Sequence[PlainRow]) -> bytes:
        """Return the body of a request for rows: batch_size first, then columns."""
        if len(plain) == 1:
            pairs = zip(self._inputs, plain[0], strict=True)
            return orjson.dumps({one.name: one.to_json(v) for one, v in pairs})
        document: dict[str, Any] = {"batch_size": len(plain)}
        columns = map(narrowed, zip(*plain, strict=True))
        for one, column in zip(self._inputs, columns, strict=True):
            document[one.name] = [one.to_json(value) for value in column]
        return orjson.dumps(document)

    def version_in(self, headers: Mapping[str, str], document: Any) -> str:
        """Return the version that a response names: without a hash, it is 0."""
        return _version(document.get("dictHash", 0))


class _MlyInput:
    """One input as mly reads it: auxiliaries are text, floats have no exponents."""

    def __init__(self, tensor: Tensor, kind: Kind) -> None:
        self.name = tensor.name
        self._is_auxiliary = tensor.dtype == ANY
        self._kind = kind

    def to_json(self, value: Any) -> Any:
        """Return what orjson is to write for a checked value."""
        if self._is_auxiliary:
            return value if isinstance(value, str) else orjson.dumps(value).decode()
        if isinstance(value, list):
            return self.to_json(value[0])  # of one element: it was checked
        if isinstance(self._kind, Rounded):
            value = float(
                f"{self._kind.canonical_value(value):.{self._kind.precision}f}"
            )
        if not isinstance(value, float):
            return value
        return orjson.Fragment(format(Decimal(repr(value)), "f"))


async def discover(
    sender: Sender, path: str, options: Options, deadline: float
) -> MlyModel:
    """Return the model at a path. Raises as Sender.send does, such as ModelNotFound."""
    config = await sender.send(Request(f"{path}/meta/config", {}), _read, deadline)
    request = Request(f"{path}/meta/dictionary", {})
    dictionary = await sender.send(request, _read, deadline)
    name = path.rpartition("/")[2]
    try:
        return MlyModel(_contract(name, config, dictionary or {}), options)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BadResponse(f"not the config of an mly model: {error!r}") from None


def _read(response: Response) -> Any:
    body = response.body
    try:
        if body.startswith(b"\x1f\x8b"):  # whatever encodings were accepted
            body = gzip.decompress(body)
        return orjson.loads(body)
    except (ValueError, OSError, EOFError) as error:
        raise BadResponse(f"not the config of an mly model: {error}") from None


def _contract(model: str, config: Any, dictionary: Any) -> Contract:
    layers = {layer["Name"]: layer for layer in dictionary.get("Layers") or ()}
    inputs = sorted(config["Inputs"], key=lambda one: str(one["Name"]))
    fed = [one for one in inputs if not one.get("Auxiliary")]
    extra = [one for one in inputs if one.get("Auxiliary")]
    kinds = [_kind(one, layers.get(one["Name"]) or {}) for one in fed]
    kinds += [Auxiliary(True, "it may change the answer")] * len(extra)
    return Contract(
        model=model,
        version=_version(dictionary.get("Hash", 0)),
        signature=_signature(fed, extra),
        kinds=tuple(kinds),
        transforms=True,
        ttl_seconds=_ttl_seconds(config),
        max_rows=_MAX_ROWS,
        max_body_bytes=_MAX_BODY_BYTES,
    )


def _signature(fed: Sequence[Any], auxiliaries: Sequence[Any]) -> Signature:
    # Without outputs: their order is random, and a transformer may change them.
    return Signature(
        tuple(Tensor(one["Name"], _dtype(one), (1,)) for one in fed),
        (),
        tuple(Tensor(one["Name"], ANY, ()) for one in auxiliaries),
    )


def _ttl_seconds(config: Any) -> float:
    if not config.get("ID"):  # no datastore: answers may not be kept
        return 0.0
    return (config.get("TimeToLiveMs") or _DEFAULT_TTL_MS) / 1000


def _dtype(one: Any) -> str:
    dtype = str(one["DataType"])
    return _DTYPES.get(dtype, dtype)


def _kind(one: Any, layer: Any) -> Kind:
    """Return what an input's values collapse to: the same as in mly's own client."""
    dtype = _dtype(one)
    if dtype == "float32" and one.get("Precision", 0) > 0 and not one.get("Wildcard"):
        return Rounded(dtype, one["Precision"], "the server's config")
    known: frozenset[Scalar] = frozenset(
        (layer.get("Strings") if dtype == "string" else layer.get("Ints")) or ()
    )
    if one.get("Wildcard") or not known or "float" in dtype:
        return Exact(dtype, "mly reports no vocabulary")
    return Vocabulary(known, _unknown(dtype, known), "meta/dictionary")


def _unknown(dtype: str, known: frozenset[Scalar]) -> Scalar:
    """Return a value that stands for all unknown ones, and is not a known one.

    mly's own, 0 and [UNK], may be in a vocabulary.
    """
    if dtype == "string":
        return next(t for n in count() if (t := f"[UNK{n or ''}]") not in known)
    return next(n for n in count() if n not in known)


def _version(digest: Any) -> str:
    return f"mly {digest or 0}"
