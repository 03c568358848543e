"""/v1/api/model/ID/meta/{config,dictionary}: a model as mly's clients know it.

They make their own keys from these documents. Names and order of the fields are mly's.
Both are made in a thread: each value of a vocabulary may have to be looked at.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import orjson

from gomlx.config.schema import Datastore
from gomlx.contract.canonical import Auxiliary, Kind, Rounded, Vocabulary
from gomlx.contract.dictionary import digest
from gomlx.contract.dtypes import ANY
from gomlx.contract.tensor import Tensor
from gomlx.contract.values.slices import as_json, in_order
from gomlx.models.serving.current import Current, LiveVersion
from gomlx.models.version import model_of
from gomlx.server.routes.meta.kept import KeptDocument, KeptDocuments

# mly's clients have names of their own for dtypes of inputs; outputs keep TensorFlow's.
_INPUT_DTYPES = {"float32": "float", ANY: "string"}


class MlyMeta:
    """The documents of the live versions.

    datastores: model → where its answers are cached, or None.
    """

    def __init__(
        self, current: Current, datastores: Mapping[str, Datastore | None]
    ) -> None:
        self._current = current
        self._datastores = datastores
        self._configs = KeptDocuments()
        self._dictionaries = KeptDocuments()

    async def config(self, name: str) -> KeptDocument:
        """Return how inputs are keyed, and whether and for how long answers are kept.

        Raises ModelNotFound, NotReady.
        """
        live = self._current.require(name)
        description = live.servable.description
        # Its clients keep answers by row: rows that are answered together have none,
        # and rows that differ in what an output repeats have one key.
        is_by_row = not (description.rows_together or live.signature.echoes)
        is_cached = is_by_row and not description.unsteady
        store = self._datastores[model_of(name)] if is_cached else None
        more: dict[str, Any] = {}  # not mly's: its clients ignore it
        if apart := description.rows_apart:
            more["RowsApart"] = apart
        if further := self._further(name):
            more["Signatures"] = further
        tag = f"{live.digest} {further}"
        return await self._configs.get(name, tag, partial(_config, live, store, more))

    def _further(self, model: str) -> dict[str, str]:
        """Return the further signatures of a model, and why one is not served."""
        current = self._current
        names = [*current.further(model), *current.reasons]
        return {
            name.partition(":")[2]: current.reasons.get(name, "served")
            for name in names
            if name.startswith(f"{model}:")
        }

    async def dictionary(self, name: str) -> KeptDocument:
        """Return the vocabularies of a model's inputs.

        Raises ModelNotFound, NotReady.
        """
        live = self._current.require(name)
        make = partial(_dictionary, live)
        return await self._dictionaries.get(name, live.digest, make)


def _config(live: LiveVersion, store: Datastore | None, more: dict[str, Any]) -> bytes:
    document = _uncached(live) if store is None else _cached(live, store)
    return orjson.dumps(document | more)


def _dictionary(live: LiveVersion) -> bytes:
    layers = [
        _layer(tensor.name, kind)
        for tensor, kind in _keyed(live)
        if isinstance(kind, Vocabulary) and _is_shared(kind)
    ]
    dict_hash = live.servable.version.dict_hash
    return orjson.dumps({"Layers": layers or None, "Hash": dict_hash})


def _uncached(live: LiveVersion) -> dict[str, Any]:
    """Return no ID: then mly's clients do not keep answers."""
    return {
        "Connections": None,
        "ID": "",
        "Cache": None,
        "Storable": "",
        "Fields": None,
        "Inputs": _inputs(live),
        "Outputs": _outputs(live),
    }


def _cached(live: LiveVersion, store: Datastore) -> dict[str, Any]:
    cache = {
        "MaxEntries": 0,
        "EntrySize": 0,
        "SizeMb": store.memory_mb,
        "Shards": 0,
        "Location": "",
    }
    key_fields = [
        tensor.name
        for tensor, kind in _keyed(live)
        if not isinstance(kind, Auxiliary) or kind.is_in_key
    ]
    return {
        "Connections": None,
        "ID": live.servable.version.name,
        "Cache": cache,
        "Connection": "",
        "Namespace": "",
        "Dataset": "",
        "TimeToLiveMs": int(store.ttl_seconds * 1000),
        "Storable": "",
        "Fields": [{"Name": live.signature.outputs[0].name, "DataType": ""}],
        "Inputs": _inputs(live),
        "KeyFields": key_fields,
        "Outputs": _outputs(live),
    }


def _keyed(live: LiveVersion) -> list[tuple[Tensor, Kind]]:
    return list(zip(live.signature.fields, live.dictionary.kinds, strict=True))


def _inputs(live: LiveVersion) -> list[dict[str, Any]]:
    return [
        _field(t, i, _INPUT_DTYPES.get(t.dtype, t.dtype)) | _keying(kind)
        for i, (t, kind) in enumerate(_keyed(live))
    ]


def _outputs(live: LiveVersion) -> list[dict[str, Any]]:
    return [_field(t, i, t.dtype) for i, t in enumerate(live.signature.answered)]


def _field(tensor: Tensor, index: int, dtype: str) -> dict[str, Any]:
    return {"Name": tensor.name, "Index": index, "DataType": dtype}


def _keying(kind: Kind) -> dict[str, Any]:
    """Return how mly's clients key an input: what they have no kind for, as is."""
    if isinstance(kind, Auxiliary):
        return {"Auxiliary": True} | ({"Wildcard": True} if kind.is_in_key else {})
    if isinstance(kind, Rounded) and kind.precision:
        return {"Precision": kind.precision}
    is_vocabulary = isinstance(kind, Vocabulary) and _is_shared(kind)
    return {} if is_vocabulary else {"Wildcard": True}


def _is_shared(vocabulary: Vocabulary) -> bool:
    """Return whether mly's clients read a vocabulary as we do.

    Their out-of-vocabulary number is 0, which must then not be in the vocabulary; and
    they have no vocabularies of bytes, and no empty ones.
    """
    known = vocabulary.known
    if not known or 0 in known:
        return False
    return not any(type(value) is bytes for value in known)


def _layer(name: str, vocabulary: Vocabulary) -> dict[str, Any]:
    values = in_order(vocabulary.known)
    is_text = isinstance(values[0], str)
    dumped = as_json(values)
    own = digest(str(value).encode() for value in values)
    return {
        "Name": name,
        "Strings": dumped if is_text else None,
        "Ints": None if is_text else dumped,
        "Hash": int.from_bytes(bytes.fromhex(own)[:8], "big", signed=True),
    }
