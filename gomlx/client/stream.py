"""Rows in, answers out, in order: batches of what is not known here, a few under way.

    rows ─► Window.add      known here? then there is the answer already
              └ no: a batch ─► asked when it is full, or when nothing else is under way
    answers ◄─ Window.take  in the order of the rows

A batch is asked as predict_batch asks: the shared tier, retries, hedging, versions are
all there. One drive is for programs that block, and reads the rows in their own thread;
one for event loops, and reads them beside the answers.
"""

import asyncio
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
)
from concurrent.futures import Future
from typing import Any, Generic, NamedTuple, TypeVar

from gomlx.client.answer import Answer
from gomlx.client.columns import batch, one_row
from gomlx.client.core import Core
from gomlx.client.progress import Bar
from gomlx.errors import GomlxError, InvalidInput, RunFailed, TooLarge

Outcome = Answer | GomlxError
F = TypeVar("F", Future[list[Outcome]], "asyncio.Future[list[Outcome]]")
Submit = Callable[[list[Any]], F]

_OF_A_ROW = (InvalidInput, TooLarge, RunFailed)  # others are the service's
_UNDER_WAY = 4  # batches in a window; two would do when the host is near
_TURN = 64  # rows that are read before others get the event loop
_END = object()


class Choices(NamedTuple):
    """What a caller of `stream` may choose."""

    window: int
    errors: str


class _Batch:
    """Rows that are asked together. pending is None until they are.

    outcomes: None until the first one is taken; to ask a future each time takes a lock.
    """

    __slots__ = ("outcomes", "pending", "rows")

    def __init__(self) -> None:
        self.rows: list[Any] = []
        self.pending: Any = None
        self.outcomes: list[Outcome] | None = None


class Window(Generic[F]):
    """Rows that were read whose answers were not taken. For one thread or one loop."""

    def __init__(
        self, core: Core, submit: Submit[F], choices: Choices, bar: Bar | None
    ) -> None:
        if choices.window < 1:
            raise ValueError(f"window: expected 1 or more rows, got {choices.window}")
        if choices.errors not in ("raise", "return"):
            raise ValueError(
                f"errors: expected 'raise' or 'return', got {choices.errors!r}"
            )
        self._submit: Submit[F] = submit
        self._find, self._bar = core.find, bar
        self._size, self._returns = choices.window, choices.errors == "return"
        self._most = max(choices.window // _UNDER_WAY, 1)
        self._slots: deque[Answer | tuple[_Batch, int]] = deque()
        self._batch = _Batch()
        self._under_way: set[F] = set()  # each leaves it by itself, from any thread

    def __bool__(self) -> bool:
        return bool(self._slots)

    @property
    def has_room(self) -> bool:
        return len(self._slots) < self._size

    def add(self, row: Any) -> None:
        """Look a row up here, or see that it is asked."""
        answer = self._find(row)
        if answer is not None:
            self._slots.append(answer)
            return
        rows = self._batch.rows
        self._slots.append((self._batch, len(rows)))
        # Whoever makes the rows may use one object again and again.
        rows.append(dict(row) if isinstance(row, Mapping) else row)
        self._push()

    def head(self) -> F | None:
        """Return what the next answer waits for; None if it is here."""
        self._push()
        slot = self._slots[0]
        if isinstance(slot, Answer) or slot[0].outcomes is not None:
            return None
        if slot[0].pending is None:  # nothing else is: who was has not left it yet
            self.flush()
        pending: F = slot[0].pending
        return None if pending.done() else pending

    def take(self) -> Outcome:
        """Take the next answer. Raises the error that is in its place."""
        slot = self._slots.popleft()
        if isinstance(slot, Answer):
            outcome: Outcome = slot
        else:
            made, place = slot
            if made.outcomes is None:
                made.outcomes = made.pending.result()
            outcome = made.outcomes[place]
        if isinstance(outcome, GomlxError):
            if not self._returns or not isinstance(outcome, _OF_A_ROW):
                raise outcome
        if self._bar:
            self._bar.step()
        return outcome

    def flush(self) -> None:
        """Ask what waits for a batch to be full."""
        if self._batch.rows:
            made, self._batch = self._batch, _Batch()
            made.pending = self._submit(made.rows)
            self._under_way.add(made.pending)
            made.pending.add_done_callback(self._under_way.discard)

    def close(self) -> None:
        """Stop what is under way, and ask no more."""
        self._batch = _Batch()
        for pending in list(self._under_way):
            pending.cancel()
        if self._bar:
            self._bar.close()

    def _push(self) -> None:
        if not self._under_way or len(self._batch.rows) >= self._most:
            self.flush()


def streamed(
    rows: Iterable[Any], window: Window[Future[list[Outcome]]]
) -> Generator[Outcome, None, None]:
    """Yield the outcomes of rows, which are read in the caller's thread."""
    source, failures = iter(rows), list[Exception]()
    is_open = True
    try:
        while is_open or window:
            # A row in, an answer out; more rows in while that answer is not here.
            while is_open and window.has_room:
                is_open = _read_one(source, window, failures)
                if window and window.head() is None:
                    break
            if window:
                if (pending := window.head()) is not None:
                    pending.exception()  # waits
                yield window.take()
        for failure in failures:
            raise failure
    finally:
        window.close()


def _read_one(
    source: Iterator[Any],
    window: Window[Future[list[Outcome]]],
    failures: list[Exception],
) -> bool:
    """Read a row; False at the end. An error has its place after the last row."""
    try:
        row = next(source, _END)
    except Exception as error:
        failures.append(error)
        row = _END
    if row is _END:
        window.flush()
        return False
    window.add(row)
    return True


async def streamed_async(
    rows: Iterable[Any] | AsyncIterable[Any],
    window: "Window[asyncio.Future[list[Outcome]]]",
) -> AsyncGenerator[Outcome, None]:
    """Yield the outcomes of rows, which are read in a task beside."""
    has_room, has_news = asyncio.Event(), asyncio.Event()

    async def read() -> None:
        async for row in _each(rows):
            window.add(row)
            has_news.set()
            while not window.has_room:
                has_room.clear()
                await has_room.wait()
        window.flush()

    reading = asyncio.create_task(read())
    reading.add_done_callback(lambda _: has_news.set())
    try:
        while True:
            while not window and not reading.done():
                has_news.clear()
                await has_news.wait()
            if not window:
                reading.result()  # raises what the rows' iterator raised
                return
            if (pending := window.head()) is not None:
                await asyncio.wait([pending])
            outcome = window.take()
            has_room.set()
            yield outcome
    finally:
        reading.cancel()
        window.close()
        await asyncio.wait([reading])
        _ = reading.cancelled() or reading.exception()  # nobody's, if it was not met


async def _each(rows: Iterable[Any] | AsyncIterable[Any]) -> AsyncIterator[Any]:
    if isinstance(rows, AsyncIterable):
        async for row in rows:
            yield row
        return
    for n, row in enumerate(rows, 1):
        yield row
        if n % _TURN == 0:
            await asyncio.sleep(0)


async def outcomes(core: Core, rows: list[Any], seconds: float | None) -> list[Outcome]:
    """Return each row's answer, or why there is none."""
    asked: Any = rows[0] if len(rows) == 1 else rows
    try:
        question = one_row(asked) if asked is not rows else batch(rows)
        return list(await core.answers(question, seconds))
    except _OF_A_ROW as error:
        if len(rows) == 1:
            return [error]
    except GomlxError as error:
        return [error] * len(rows)
    # One row spoils the others: they are asked again without it.
    found: dict[int, Outcome] = {}
    for part in _parts(core, rows):
        told = await outcomes(core, [rows[i] for i in part], seconds)
        found.update(zip(part, told, strict=True))
    return [found[i] for i in range(len(rows))]


def _parts(core: Core, rows: list[Any]) -> list[list[int]]:
    """Part rows by whether the model's signature admits them; otherwise in halves."""
    good, bad = list[int](), list[int]()
    for i, row in enumerate(rows):
        (good if core.admits(row) else bad).append(i)
    if good and bad:
        return [good, *([i] for i in bad)]
    middle = len(rows) // 2
    every = list(range(len(rows)))
    return [every[:middle], every[middle:]]
