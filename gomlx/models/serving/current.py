"""The live version of each model: pin it for a request, swap it, drain the old one.

live ──swap──► replaced ──the last pin is released──► drained: when_drained(version)
"""

from collections.abc import Callable, Container, Iterable, Mapping
from typing import TYPE_CHECKING

from gomlx.contract.answer import SharedAnswers, SharedLists
from gomlx.contract.dictionary import Dictionary
from gomlx.errors import ModelNotFound, NotReady
from gomlx.models.batching.batcher import Batcher
from gomlx.models.version import model_of
from gomlx.runtime.masking import without_folders

if TYPE_CHECKING:  # TensorFlow takes seconds, and workers must heartbeat before
    from gomlx.models.serving.servable import Servable


# A version's envelope, how many microseconds the request took, and the answers.
RESPONSE = b'%b%d,"data":%b}'


class LiveVersion:
    """A servable and what is made once for it. For one thread: the event loop's.

    batcher: the queue of its rows. namespace: its part of the shared tiers. pins: how
    many requests still need it. digest, signature and dictionary are the servable's.
    envelope: the first bytes of every response, for RESPONSE. answers_together:
    whether a request is one question, whose row is the tuple of its rows.
    """

    __slots__ = (
        "_when_drained",
        "answers_together",
        "batcher",
        "dictionary",
        "digest",
        "envelope",
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
        self.answers_together = servable.description.rows_together
        shared = SharedLists if self.answers_together else SharedAnswers
        self.namespace = shared(version.name, version.digest, outputs)
        # dictHash names the version in every response.
        self.envelope = (
            b'{"status":"ok","dictHash":%d,"serviceTimeMcs":' % version.dict_hash
        )
        self.pins = 0
        self._when_drained: Callable[[LiveVersion], None] | None = None

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


class Slot:
    """The place of one model's live version; live is None while it has none.

    gone: the error of a model that the config has no longer. Who had its slot before
    may still ask.
    """

    __slots__ = ("_is_terse", "_name", "_reasons", "_refused", "gone", "live")

    def __init__(
        self,
        name: str,
        reasons: Mapping[str, str],
        refused: Container[str],
        is_terse: bool,
    ) -> None:
        self._name = name
        self._is_terse = is_terse
        self._reasons = reasons
        self._refused = refused
        self.live: LiveVersion | None = None
        self.gone: ModelNotFound | None = None

    def not_ready(self) -> NotReady | ModelNotFound:
        """Return the error that says why there is no live version."""
        if self.gone is not None:
            return self.gone
        reason = self._reasons.get(self._name, "it is being loaded")
        if self._is_terse:
            reason = "the log and, for admins, /readyz say why"
        return NotReady(
            self._name, without_folders(reason), self._name not in self._refused
        )


class Current:
    """Which version of each model is live. For one thread: the event loop's.

    names: those that the config has. A further signature has a slot, too, from when it
    is first served, and keeps it. reasons: model → why it has no live version. refused:
    the models for which that does not pass by itself. is_terse: errors tell neither the
    names of other models nor reasons.
    """

    def __init__(self, names: Iterable[str], is_terse: bool = False) -> None:
        self.is_terse = is_terse
        self.reasons: dict[str, str] = {}
        self.refused: set[str] = set()
        self._slots: dict[str, Slot] = {}
        self._configured = [*names]
        for name in self._configured:
            self.add(name)

    @property
    def names(self) -> list[str]:
        """The configured models, and the further signatures that are to be live."""
        return [
            name
            for name, slot in self._slots.items()
            if slot.live is not None
            or name in self._configured
            or (name in self.reasons and name not in self.refused)
        ]

    def configure(
        self, names: Iterable[str], when_drained: Callable[[LiveVersion], None]
    ) -> None:
        """Have slots for these models, and no others. Those that are gone drain."""
        self._configured = [*names]
        gone = [name for name in self._slots if not self.is_configured(name)]
        self.swap(dict.fromkeys(gone), when_drained)
        removed = {name: self._slots.pop(name) for name in gone}
        for name in [*self.reasons]:
            if not self.is_configured(name):
                del self.reasons[name]
        for name in self._configured:
            self.add(name)
        for name, slot in removed.items():
            slot.gone = self.unknown(name)

    def is_configured(self, name: str) -> bool:
        """Whether the config has a model, or that of a further signature."""
        return model_of(name) in self._configured

    def further(self, model: str) -> list[str]:
        """Return the further signatures of a model that are or were served."""
        return [name for name in self._slots if name.startswith(f"{model}:")]

    def add(self, name: str) -> Slot:
        """Return a model's slot, a new one if it has none."""
        if name not in self._slots:
            self._slots[name] = Slot(name, self.reasons, self.refused, self.is_terse)
        return self._slots[name]

    def slot(self, name: str) -> Slot:
        """Return a model's slot, to look into again and again. Raises ModelNotFound."""
        if name not in self._slots:
            raise self.unknown(name)
        return self._slots[name]

    def not_ready(self, name: str) -> NotReady | ModelNotFound:
        """Return the error of a model without a live version; it may have no slot."""
        return Slot(name, self.reasons, self.refused, self.is_terse).not_ready()

    def unknown(self, name: str) -> ModelNotFound:
        """Return the error for a name that no model has."""
        return ModelNotFound(name, None if self.is_terse else self.names)

    def get(self, name: str) -> LiveVersion | None:
        """Return the live version, if there is one. Pin it to use it across turns."""
        slot = self._slots.get(name)
        return None if slot is None else slot.live

    def require(self, name: str) -> LiveVersion:
        """Return the live version. Pin it to use it across turns of the event loop.

        Raises ModelNotFound, NotReady.
        """
        slot = self.slot(name)
        if slot.live is None:
            raise slot.not_ready()
        return slot.live

    def swap(
        self,
        lives: Mapping[str, LiveVersion | None],
        when_drained: Callable[[LiveVersion], None],
    ) -> None:
        """Make versions live, all at once, and drain those that they replace.

        lives: by model, which has a slot; None: it is not served any more. A version
        may have several names. Raises ModelNotFound.
        """
        slots = {name: self.slot(name) for name in lives}
        replaced = {id(slot.live): slot.live for slot in slots.values()}
        for name, live in lives.items():
            slots[name].live = live
        for slot in self._slots.values():
            replaced.pop(id(slot.live), None)
        for old in replaced.values():
            if old is not None:
                old.drain(when_drained)
