"""The live version of each model: pin it for a request, swap it, drain the old one.

live ──swap──► replaced ──the last pin is released──► drained: when_drained(version)
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from gomlx.contract.answer import SharedAnswers
from gomlx.contract.dictionary import Dictionary
from gomlx.errors import ModelNotFound, NotReady
from gomlx.models.serving.batcher import Batcher

if TYPE_CHECKING:  # TensorFlow takes seconds, and workers must heartbeat before
    from gomlx.models.serving.servable import Servable


class LiveVersion:
    """A servable and what is made once for it. For one thread: the event loop's.

    batcher: the queue of its rows. namespace: its part of the shared tiers. pins: how
    many requests still need it. digest, signature and dictionary are the servable's.
    """

    __slots__ = (
        "_prefix",
        "_when_drained",
        "batcher",
        "dictionary",
        "digest",
        "namespace",
        "pins",
        "servable",
        "signature",
    )

    def __init__(self, servable: "Servable", batcher: Batcher) -> None:
        version = servable.version
        self.servable = servable
        self.batcher = batcher
        self.digest = version.digest
        self.signature = servable.signature
        self.dictionary: Dictionary = servable.dictionary
        outputs = () if servable.description.transformer else self.signature.outputs
        self.namespace = SharedAnswers(version.name, version.digest, outputs)
        # dictHash names the version in every response.
        self._prefix = (
            b'{"status":"ok","dictHash":%d,"serviceTimeMcs":' % version.dict_hash
        )
        self.pins = 0
        self._when_drained: Callable[[LiveVersion], None] | None = None

    def response_prefix(self, seconds: float) -> bytes:
        """Return the first bytes of a response to a request that took so long."""
        return b'%b%d,"data":' % (self._prefix, int(seconds * 1e6))

    def pin(self) -> None:
        """Hold the version for one request, until `unpin`."""
        self.pins += 1

    def unpin(self) -> None:
        """Release one pin. The last pin of a replaced version drains it."""
        self.pins -= 1
        if not self.pins and self._when_drained:
            self._when_drained(self)

    def drain(self, when_drained: Callable[["LiveVersion"], None]) -> None:
        """Call when_drained once no request holds the version: now or later.

        The version must not be live any more, or new requests would pin it.
        """
        if self.pins:
            self._when_drained = when_drained
        else:
            when_drained(self)


class Current:
    """Which version of each model is live. For one thread: the event loop's.

    reasons: model → why it has no live version.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._live: dict[str, LiveVersion | None] = dict.fromkeys(names)
        self.reasons: dict[str, str] = {}

    def get(self, name: str) -> LiveVersion | None:
        """Return the live version, if there is one. Pin it to use it across turns."""
        return self._live.get(name)

    def require(self, name: str) -> LiveVersion:
        """Return the live version. Pin it to use it across turns of the event loop.

        Raises ModelNotFound, NotReady.
        """
        live = self._live.get(name)
        if live is None:
            if name not in self._live:
                raise ModelNotFound(name, self._live)
            raise NotReady(name, self.reasons.get(name, "it is being loaded"))
        return live

    def swap(
        self, name: str, live: LiveVersion, when_drained: Callable[[LiveVersion], None]
    ) -> None:
        """Make a version live, and drain the one that it replaces.

        Raises ModelNotFound.
        """
        if name not in self._live:
            raise ModelNotFound(name, self._live)
        old = self._live[name]
        self._live[name] = live
        if old is not None:
            old.drain(when_drained)
