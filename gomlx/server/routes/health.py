"""What a worker tells about itself: health, readiness, config, metrics."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from gomlx.contract.canonical import Auxiliary, Kind, Rounded, Vocabulary
from gomlx.contract.dictionary import digest
from gomlx.contract.dtypes import ANY
from gomlx.contract.tensor import Tensor
from gomlx.errors import ModelNotFound
from gomlx.metrics.exposition import ScrapedMetric
from gomlx.metrics.metrics import Metrics
from gomlx.models.serving.current import Current, LiveVersion
from gomlx.models.version import Manifest
from gomlx.server.http.certificates import Certificates
from gomlx.server.routes.meta import Contracts

# What mly's clients call the dtypes of inputs; outputs keep TensorFlow's names.
_MLY_INPUT_DTYPES = {"float32": "float", ANY: "string"}


class Status:
    """The documents behind the routes that are not predictions.

    Each returns an HTTP status and a document. config is the whole config, already
    masked; manifest reads what the supervisor published last; tiers tells how the
    shared tiers are, by datastore and name.
    """

    def __init__(
        self,
        current: Current,
        config: Mapping[str, Any],
        manifest: Callable[[], Manifest],
        metrics: Metrics,
        tiers: Callable[[], Any] = dict,
        certificates: Certificates | None = None,
    ) -> None:
        self._current, self._config = current, config
        self._manifest, self._metrics, self._tiers = manifest, metrics, tiers
        self._certificates = certificates
        self.models = [model["id"] for model in config["models"]]
        self.contracts = Contracts(current, config)

    def live(self) -> tuple[int, Any]:
        """The process runs."""
        return 200, {"live": True}

    def ready(self) -> tuple[int, Any]:
        """Every model has a version that answers."""
        problems = self._manifest().failures
        models = {}
        for name in self.models:
            live = self._current.get(name)
            version = live and live.servable.version.digest
            problem = problems.get(name) or self._current.reasons.get(name)
            models[name] = {"ready": live is not None, "version": version}
            if problem:
                models[name]["problem"] = problem
        ready = all(model["ready"] for model in models.values())
        document = {"ready": ready, "models": models}
        if tiers := self._tiers():
            document["tiers"] = tiers
        if self._certificates:
            document["tls"] = self._certificates.detail()
        return 200 if ready else 503, document

    def health(self) -> tuple[int, Any]:
        """1 for each model whose newest files are live, 0 for the others."""
        failures = self._manifest().failures.keys() | self._current.reasons.keys()
        return 200, {
            name: int(self._current.get(name) is not None and name not in failures)
            for name in self.models
        }

    def config(self) -> tuple[int, Any]:
        return 200, self._config

    def meta_config(self, name: str) -> tuple[int, Any]:
        """What mly's clients need to know of a model to start."""
        live = self._current.require(name)  # raises what there is to say
        return 200, self._meta_config(name, live)

    def meta_dictionary(self, name: str) -> tuple[int, Any]:
        """The vocabularies of a model's inputs, for clients that make mly's keys."""
        live = self._current.require(name)
        layers = [
            _layer(tensor.name, kind)
            for tensor, kind in _keyed(live)
            if _has_layer(kind)
        ]
        document = {"Layers": layers or None}
        return 200, document | {"Hash": live.servable.version.dict_hash}

    async def metrics(self) -> bytes:
        """The metrics of all workers, in Prometheus' text format."""
        self._metrics.flush()
        # Reading the files of all workers takes milliseconds: not on the loop.
        return await asyncio.to_thread(self._metrics.exposition, self._states())

    def _meta_config(self, name: str, live: LiveVersion) -> dict[str, Any]:
        signature = live.signature
        model = next((m for m in self._config["models"] if m["id"] == name), None)
        if model is None:
            raise ModelNotFound(name, self.models)
        store = self._store(model, live)
        outputs = [_field(t, i, t.dtype) for i, t in enumerate(signature.outputs)]
        inputs = [
            _field(t, i, _MLY_INPUT_DTYPES.get(t.dtype, t.dtype)) | _keying(kind)
            for i, (t, kind) in enumerate(_keyed(live))
        ]
        # mly's clients keep answers of a model that has an ID here, and no others.
        told = name if store else ""
        document: dict[str, Any] = {"Connections": None, "ID": told, "Cache": None}
        fields = None
        if store:
            document["Cache"] = {
                "MaxEntries": 0,
                "EntrySize": 0,
                "SizeMb": store["memory_mb"],
                "Shards": 0,
                "Location": "",
            }
            document |= {"Connection": "", "Namespace": "", "Dataset": ""}
            document["TimeToLiveMs"] = int(store["ttl_seconds"] * 1000)
            fields = [{"Name": signature.outputs[0].name, "DataType": ""}]
        document |= {"Storable": "", "Fields": fields, "Inputs": inputs}
        if store:
            document["KeyFields"] = [
                tensor.name for tensor, kind in _keyed(live) if not _is_aside(kind)
            ]
        return document | {"Outputs": outputs}

    def _store(self, model: Mapping[str, Any], live: LiveVersion) -> Any:
        """Return the settings of where a model's answers are kept; None: nowhere."""
        if live.servable.description.unsteady:
            return None
        stores = (
            d for d in self._config["datastores"] if d["id"] == model["datastore"]
        )
        return next(stores, None)

    def _states(self) -> list[ScrapedMetric]:
        manifest = self._manifest()
        info = ScrapedMetric(
            "gomlx_model_info", "The live versions.", ("model", "version")
        )
        up = ScrapedMetric(
            "gomlx_model_up", "1: the newest files are live.", ("model",)
        )
        reloads = ScrapedMetric(
            "gomlx_reloads_total", "Versions published or failed.", ("model", "outcome")
        )
        for name in self.models:
            version = manifest.versions.get(name)
            if version:
                info.add(1, name, version.digest)
            failed = name in manifest.failures or name in self._current.reasons
            up.add(int(bool(version) and not failed), name)
            for outcome, n in manifest.reloads.get(name, {}).items():
                reloads.add(n, name, outcome)
        return [info, up, reloads, *self._tls_states()]

    def _tls_states(self) -> list[ScrapedMetric]:
        if self._certificates is None:
            return []
        expires = ScrapedMetric(
            "gomlx_tls_certificate_expiry_timestamp_seconds",
            "Unix time at which the certificate in use expires.",
            (),
        )
        up = ScrapedMetric(
            "gomlx_tls_up", "1: the newest certificate is live and valid.", ()
        )
        expires.add(self._certificates.expires)
        up.add(int(self._certificates.problem is None))
        return [expires, up]


def _keyed(live: LiveVersion) -> list[tuple[Tensor, Kind]]:
    return list(zip(live.signature.fields, live.dictionary.kinds, strict=True))


def _keying(kind: Kind) -> dict[str, Any]:
    """How mly's clients make their own keys. What they know no kind for is itself."""
    if isinstance(kind, Auxiliary):
        return {"Auxiliary": True} | ({"Wildcard": True} if kind.is_in_key else {})
    if isinstance(kind, Rounded) and kind.precision:
        return {"Precision": kind.precision}
    return {} if _has_layer(kind) else {"Wildcard": True}


def _is_aside(kind: Kind) -> bool:
    return isinstance(kind, Auxiliary) and not kind.is_in_key


def _has_layer(kind: Kind) -> bool:
    """True for a vocabulary that mly's clients read as we do.

    Their unknown number is 0, which must then be no known one; and they know no
    vocabulary of bytes or of nothing.
    """
    if not isinstance(kind, Vocabulary) or not kind.known or 0 in kind.known:
        return False
    return bytes not in set(map(type, kind.known))


def _layer(name: str, kind: Kind) -> dict[str, Any]:
    assert isinstance(kind, Vocabulary)
    values: list[Any] = sorted(kind.known)
    is_text = isinstance(values[0], str)
    if is_text:
        values.sort(key=str.encode)
    own = digest(str(value).encode() for value in values)
    return {
        "Name": name,
        "Strings": values if is_text else None,
        "Ints": None if is_text else values,
        "Hash": int.from_bytes(bytes.fromhex(own)[:8], "big", signed=True),
    }


def _field(tensor: Tensor, index: int, dtype: str) -> dict[str, Any]:
    return {"Name": tensor.name, "Index": index, "DataType": dtype}
