"""A model of an mly server: what is learned, sent and read where there is no contract.

Discovery is meta/config and meta/dictionary. A version is the dictionary's hash: it is
all that mly tells, so new weights with the same vocabulary show when answers expire.
Keys are for the local cache only; where it is not clear that two values are one for
the model, they are two.
"""

import gzip
from collections.abc import Mapping, Sequence
from decimal import Decimal
from itertools import count
from typing import Any

import orjson

from gomlx.client.client_model import ClientModel, narrowed
from gomlx.client.network.sender import Sender
from gomlx.client.network.transport import Request, Response
from gomlx.client.options import Options
from gomlx.contract.canonical import Auxiliary, Exact, Kind, Rounded, Vocabulary
from gomlx.contract.document import Contract
from gomlx.contract.signature import Signature
from gomlx.contract.tensor import ANY, Scalar, Tensor
from gomlx.errors import BadResponse

_DTYPES = {"float": "float32", "int": "int64"}
_MAX_ROWS = 4096
_MAX_BODY = (128 << 10) - 1  # bytes: its buffer; full, HTTP/2 refuses it
_TTL_MS = 3_600_000  # what it takes a time of 0 for


class MlyEdition(ClientModel):
    """An Edition of what an mly server serves."""

    def __init__(self, contract: Contract, options: Options) -> None:
        super().__init__(contract, options)
        fields = zip(contract.signature.fields, contract.kinds, strict=True)
        self._kinds = list(fields)

    def body(self, plain: Sequence[tuple[Any, ...]]) -> bytes:
        """Return the request for some rows: batch_size first, then columns."""
        names = self.contract.signature.names
        if len(plain) == 1:
            pairs = zip(names, self._kinds, plain[0], strict=True)
            return orjson.dumps({n: _sent(t, k, v) for n, (t, k), v in pairs})
        columns = map(narrowed, zip(*plain, strict=True))
        asked: dict[str, Any] = {"batch_size": len(plain)}
        for name, (tensor, kind), column in zip(
            names, self._kinds, columns, strict=True
        ):
            asked[name] = [_sent(tensor, kind, value) for value in column]
        return orjson.dumps(asked)

    def version_of(self, headers: Mapping[str, str], document: Any) -> str:
        """Return the version that a response tells of: no hash is a hash of 0."""
        return _version(document.get("dictHash", 0))


async def discover(
    sender: Sender, path: str, options: Options, deadline: float
) -> MlyEdition:
    """Learn a model. Raises as Sender.send does: ModelNotFound if it is not there."""
    config = await sender.send(Request(f"{path}/meta/config", {}), _read, deadline)
    request = Request(f"{path}/meta/dictionary", {})
    dictionary = await sender.send(request, _read, deadline)
    name = path.rpartition("/")[2]
    try:
        return MlyEdition(_contract(name, config, dictionary or {}), options)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BadResponse(f"not the config of an mly model: {error!r}") from None


def _read(response: Response) -> Any:
    body = response.body
    try:
        if body.startswith(b"\x1f\x8b"):  # whatever was accepted
            body = gzip.decompress(body)
        return orjson.loads(body)
    except (ValueError, OSError, EOFError) as error:
        raise BadResponse(f"not the config of an mly model: {error}") from None


def _contract(model: str, config: Any, dictionary: Any) -> Contract:
    layers = {layer["Name"]: layer for layer in dictionary.get("Layers") or ()}
    inputs = sorted(config["Inputs"], key=lambda one: str(one["Name"]))
    fed = [one for one in inputs if not one.get("Auxiliary")]
    extra = [one for one in inputs if one.get("Auxiliary")]
    signature = Signature(
        tuple(Tensor(one["Name"], _dtype(one), (1,)) for one in fed),
        (),  # their order is random, and a transformer may make anything of them
        tuple(Tensor(one["Name"], ANY, ()) for one in extra),
    )
    kinds = [_kind(one, layers.get(one["Name"]) or {}) for one in fed]
    kinds += [Auxiliary(True, "it may change the answer")] * len(extra)
    ttl_ms = (config.get("TimeToLiveMs") or _TTL_MS) if config.get("ID") else 0
    version = _version(dictionary.get("Hash", 0))
    limits = (ttl_ms / 1000, _MAX_ROWS, _MAX_BODY)
    return Contract(model, version, signature, tuple(kinds), True, *limits)


def _dtype(one: Any) -> str:
    dtype = str(one["DataType"])
    return _DTYPES.get(dtype, dtype)


def _kind(one: Any, layer: Any) -> Kind:
    """Return what an input's values collapse to, as mly's own client has it."""
    dtype = _dtype(one)
    if dtype == "float32" and one.get("Precision", 0) > 0 and not one.get("Wildcard"):
        return Rounded(dtype, one["Precision"], "the server's config")
    known: frozenset[Scalar] = frozenset(
        (layer.get("Strings") if dtype == "string" else layer.get("Ints")) or ()
    )
    if one.get("Wildcard") or not known or "float" in dtype:
        return Exact(dtype, "mly tells no vocabulary")
    return Vocabulary(known, _unknown(dtype, known), "meta/dictionary")


def _unknown(dtype: str, known: frozenset[Scalar]) -> Scalar:
    """Return a value that stands for the unknown ones, and is none of the known.

    mly's own marks, 0 and [UNK], may be in a vocabulary.
    """
    if dtype == "string":
        return next(t for n in count() if (t := f"[UNK{n or ''}]") not in known)
    return next(n for n in count() if n not in known)


def _sent(tensor: Tensor, kind: Kind, value: Any) -> Any:
    """Return a value as mly reads it: auxiliaries as text, no exponents."""
    if tensor.dtype == ANY:
        return value if isinstance(value, str) else orjson.dumps(value).decode()
    if isinstance(value, list):
        return _sent(tensor, kind, value[0])  # of one element: it was checked
    if isinstance(kind, Rounded):
        value = float(f"{kind.one(value):.{kind.precision}f}")
    if not isinstance(value, float):
        return value
    return orjson.Fragment(format(Decimal(repr(value)), "f"))


def _version(digest: Any) -> str:
    return f"mly {digest or 0}"
