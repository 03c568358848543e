"""/livez, /readyz, /v1/api/health: what a worker reports of itself."""

from collections.abc import Callable, Mapping
from typing import Any

from gomlx.models.serving.current import Current
from gomlx.models.version import Manifest, model_of
from gomlx.runtime.masking import without_folders
from gomlx.server.http.tls.certificates import Certificates

Document = dict[str, Any]


class Health:
    """The documents, each with an HTTP status.

    manifest reads what the supervisor published last. tiers reports the shared tiers,
    by datastore and name. is_draining: the service stops soon, and load balancers are
    to leave it.
    """

    def __init__(
        self,
        current: Current,
        manifest: Callable[[], Manifest],
        tiers: Callable[[], Document],
        certificates: Certificates | None = None,
        is_draining: Callable[[], bool] = lambda: False,
    ) -> None:
        self._current = current
        self._manifest = manifest
        self._tiers = tiers
        self._certificates = certificates
        self._is_draining = is_draining

    def live(self) -> tuple[int, Document]:
        """The process runs."""
        return 200, {"live": True}

    def ready(self) -> tuple[int, Document]:
        """Every model has a live version: 200, or else 503.

        So it is if a further signature has none, or is refused, or a model that came
        while the service was running; but not while the service drains.
        """
        manifest = self._manifest()
        failures = manifest.failures
        names = [*self._current.names, *self._current.reasons]
        models = {name: self._model(name, failures) for name in names}
        is_ready = all(
            model["ready"]
            for name, model in models.items()
            if name == model_of(name) and name not in manifest.added
        )
        is_draining = self._is_draining()
        is_ready = is_ready and not is_draining
        document: Document = {"ready": is_ready, "models": models}
        if is_draining:
            document["draining"] = True
        if tiers := self._tiers():
            document["tiers"] = tiers
        if self._certificates:
            document["tls"] = self._certificates.detail()
        _hide_folders(document)
        return 200 if is_ready else 503, document

    def ready_only(self) -> tuple[int, Document]:
        """What everybody may know of `ready`, if there are admins."""
        status, document = self.ready()
        known = ("ready", "draining")
        return status, {name: document[name] for name in known if name in document}

    def health(self) -> tuple[int, dict[str, int]]:
        """1 for each model whose newest files are live, 0 for the others."""
        failures = self._manifest().failures.keys() | self._current.reasons.keys()
        return 200, {
            name: int(self._current.get(name) is not None and name not in failures)
            for name in self._current.names
        }

    def _model(self, name: str, failures: Mapping[str, str]) -> Document:
        live = self._current.get(name)
        version = live and live.servable.version.digest
        document: Document = {"ready": live is not None, "version": version}
        problem = failures.get(name) or self._current.reasons.get(name)
        return document | ({"problem": problem} if problem else {})


def _hide_folders(document: Document) -> None:
    """Leave only the names of files in the problems of a document; the log has all."""
    for key, value in document.items():
        if isinstance(value, dict):
            _hide_folders(value)
        elif key in ("problem", "writes"):
            document[key] = without_folders(value)
