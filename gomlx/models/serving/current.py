"""The live version of each model: pin it for a request, swap it, drain the old one."""

from collections.abc import Callable, Iterable

from gomlx.contract.answer import SharedAnswers
from gomlx.contract.dictionary import Dictionary
from gomlx.errors import ModelNotFound, NotReady
from gomlx.models.serving.batcher import Batcher
from gomlx.models.serving.servable import Servable


class LiveVersion:
    """A servable with what is made for it: its batcher and its dictionary.

    pins counts the requests that still need it; `Current` alone changes it.
    """

    __slots__ = (
        "_prefix",
        "batcher",
        "dictionary",
        "digest",
        "pins",
        "servable",
        "shared",
        "signature",
        "when_drained",
    )

    def __init__(self, servable: Servable, batcher: Batcher) -> None:
        version = servable.version
        self.servable, self.batcher = servable, batcher
        self.digest = version.digest
        self.signature = servable.signature
        self.dictionary: Dictionary = servable.dictionary
        outputs = () if servable.description.transformer else self.signature.outputs
        self.shared = SharedAnswers(version.name, version.digest, outputs)
        # So that every response names the version it is from.
        self._prefix = (
            b'{"status":"ok","dictHash":%d,"serviceTimeMcs":' % version.dict_hash
        )
        self.pins = 0
        self.when_drained: Callable[[LiveVersion], None] | None = None

    def response_prefix(self, seconds: float) -> bytes:
        """Return the beginning of a response that has taken so long."""
        return b'%b%d,"data":' % (self._prefix, int(seconds * 1e6))


class Current:
    """Which version of each model answers. For one thread: the event loop's."""

    def __init__(self, names: Iterable[str]) -> None:
        self._live: dict[str, LiveVersion | None] = dict.fromkeys(names)
        self.reasons: dict[str, str] = {}  # why a model has no live version

    def get(self, name: str) -> LiveVersion | None:
        """Return what is live, without holding it."""
        return self._live.get(name)

    def now(self, name: str) -> LiveVersion:
        """Return what is live, for as long as the caller does not wait.

        Raises ModelNotFound, NotReady.
        """
        live = self._live.get(name)
        if live is None:
            if name not in self._live:
                raise ModelNotFound(name, self._live)
            raise NotReady(name, self.reasons.get(name, "it is being loaded"))
        return live

    def pin(self, live: LiveVersion) -> None:
        """Hold a version that is live now until `unpin`."""
        live.pins += 1

    def unpin(self, live: LiveVersion) -> None:
        """Let go. The last one to leave a replaced version drains it."""
        live.pins -= 1
        if not live.pins and live.when_drained:
            live.when_drained(live)

    def swap(
        self, name: str, live: LiveVersion, when_drained: Callable[[LiveVersion], None]
    ) -> None:
        """Make a version live; call when_drained when nobody holds the old one."""
        old, self._live[name] = self._live[name], live
        if old is None:
            return
        if old.pins:
            old.when_drained = when_drained
        else:
            when_drained(old)
