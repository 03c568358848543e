"""The neighbours of the request path, in memory: a version, its batcher, a cache."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from math import inf
from time import perf_counter
from types import SimpleNamespace
from typing import Any

from gomlx.cache.tier import Hit, OnFound
from gomlx.contract.canonical import Exact, Vocabulary
from gomlx.contract.dictionary import Dictionary
from gomlx.contract.signature import Signature
from gomlx.contract.tensor import Row, Tensor
from gomlx.errors import GomlxError, Overloaded
from gomlx.models.batching.batcher import Batcher
from gomlx.models.batching.run import Job
from gomlx.models.serving.current import LiveVersion
from gomlx.server.body import BodyParts
from gomlx.server.predict.parse import ParsedRequest
from gomlx.server.predict.reply import Reply
from gomlx.server.predict.request import PendingRequest, WaitingRequest

DIGEST = "d" * 32
ANSWER = b'{"y":1.0}'
SIGNATURE = Signature(
    (Tensor("city", "string", ()), Tensor("x", "float32", ())),
    (Tensor("y", "float32", ()),),
)
KINDS = (Vocabulary(frozenset({"rome", "oslo"}), "UNK", ""), Exact("float32", ""))
DICTIONARY = Dictionary(DIGEST, SIGNATURE, KINDS)


class FakeBatcher:
    """Keeps its jobs until they are run by hand. room: how many rows it admits."""

    cost = SimpleNamespace(key_seconds=1.0)

    def __init__(self, room: int = 1000) -> None:
        self.room = room
        self.jobs: list[tuple[Row, Job]] = []
        self.has_abandoned = False

    def has_room(self, rows: int = 1, seconds: float = inf) -> bool:
        return rows <= self.room

    def shortage(self, rows: int, seconds: float = inf) -> Overloaded | None:
        return Overloaded("m", len(self.jobs)) if rows > self.room else None

    def check_room(self, rows: int, seconds: float = inf) -> None:
        if error := self.shortage(rows, seconds):
            raise error

    def add(self, row: Row, job: Job) -> None:
        self.room -= 1
        self.jobs.append((row, job))

    def note_abandoned(self) -> None:
        self.has_abandoned = True

    def complete(self, outcome: bytes | GomlxError = ANSWER) -> None:
        """Run the jobs that are awaited."""
        jobs = self.jobs
        self.jobs = []
        for _, job in jobs:
            if job.is_awaited(perf_counter()):
                job.complete(outcome)


class FakeServable:
    """A version of the model `m`. unsteady: operations that forbid caching."""

    signature = SIGNATURE
    dictionary = DICTIONARY

    def __init__(self, digest: str, unsteady: Sequence[str]) -> None:
        self.version = SimpleNamespace(name="m", digest=digest, dict_hash=7)
        self.description = SimpleNamespace(
            unsteady=tuple(unsteady), transformer="", rows_together=False
        )


def live_version(
    batcher: FakeBatcher | Batcher, digest: str = DIGEST, unsteady: Sequence[str] = ()
) -> LiveVersion:
    servable: Any = FakeServable(digest, unsteady)
    fake: Any = batcher
    return LiveVersion(servable, fake)


@dataclass
class FakeCache:
    """A datastore: `Tiered`, as far as the request path needs it."""

    name: str = "L1"
    remotes: Sequence[str] = ()
    answers: dict[bytes, bytes] = field(default_factory=dict)
    lookups: list[Sequence[bytes]] = field(default_factory=list)
    fetched: list[bytes] = field(default_factory=list)
    deadline: float = 0.0
    on_found: OnFound | None = None

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        self.lookups.append(keys)
        return {key: self.answers[key] for key in keys if key in self.answers}

    def set(self, _: object, key: bytes, value: bytes) -> None:
        self.answers[key] = value

    def worthwhile(self, model: str, run_seconds: float) -> "FakeCache":
        return self

    def can_fetch(self, rows: int) -> bool:
        return bool(self.remotes) and rows > 0

    def fetch(
        self,
        space: object,
        keys: Collection[bytes],
        coalescer: object,
        deadline: float,
        complete: OnFound,
    ) -> None:
        self.fetched += keys
        self.deadline = deadline
        self.on_found = complete

    def find(self, key: bytes, answer: bytes | None) -> None:
        """End the look-up of a key in the shared tiers."""
        assert self.on_found
        self.on_found(key, Hit(answer, "L2") if answer else None)


@dataclass
class FakeRequester:
    """Keeps its replies."""

    text: bytes | str | BodyParts = b""
    arrived: float = field(default_factory=perf_counter)
    timeout_seconds: float = 30.0
    request_id: str = ""
    pending: WaitingRequest | None = None
    replies: list[Reply] = field(default_factory=list)

    def reply(self, reply: Reply) -> None:
        self.replies.append(reply)


class FakeOwner:
    """Remembers how requests ended."""

    def __init__(self) -> None:
        self.endings: list[GomlxError | None] = []

    def ended(self, pending: PendingRequest, error: GomlxError | None) -> None:
        self.endings.append(error)


def parsed_of(*xs: float, is_batch: bool = False) -> ParsedRequest:
    """The request for these values of x."""
    rows = DICTIONARY.canonical([("rome", x) for x in xs])
    return ParsedRequest(rows, DICTIONARY.keys(rows), is_batch or len(xs) > 1)


def pending_of(
    live: LiveVersion,
    parsed: ParsedRequest,
    answers: Sequence[bytes | None] = (),
    owner: FakeOwner | None = None,
    timeout_seconds: float = 30.0,
) -> PendingRequest:
    """A request under way, pinned; by default, all its rows are missing."""
    live.pin()
    return PendingRequest(
        owner or FakeOwner(),
        live,
        FakeRequester(timeout_seconds=timeout_seconds),
        parsed,
        [*answers] or [None] * len(parsed.rows),
        detail="",
    )
