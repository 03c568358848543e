"""The rows of a stream that were read, and whose answers were not yielded yet.

    rows ─► ReadAhead.add    kept locally? then its answer is in its slot at once
              └ no: a batch ─► submitted when it is full, or when no other is under way
    answers ◄─ ReadAhead.pop    in the order of the rows

A batch is requested as predict_batch does: it has the shared tier, retries, hedging and
the check of versions.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, Generic, NamedTuple, TypeVar

from gomlx.client.answer import Answer, RowOutcome
from gomlx.client.progress import Bar
from gomlx.client.stream.outcomes import ROW_ERRORS
from gomlx.errors import GomlxError

F = TypeVar("F", Future[list[RowOutcome]], "asyncio.Future[list[RowOutcome]]")
Submit = Callable[[list[Any]], F]

_BATCHES = 4  # in a window; two would do when the host is near


class StreamOptions(NamedTuple):
    """What a caller of `stream` may choose; see Client.stream."""

    window: int
    errors: str


class _Batch:
    """Rows that are requested together. pending is None until they are.

    outcomes: None until the first is popped; a future takes a lock each time.
    """

    __slots__ = ("outcomes", "pending", "rows")

    def __init__(self) -> None:
        self.rows: list[Any] = []
        self.pending: Any = None
        self.outcomes: list[RowOutcome] | None = None


class ReadAhead(Generic[F]):
    """A queue of slots, one a row, for one thread or one event loop. True unless empty.

    lookup: returns the answer of a row that is kept locally, or None. submit: starts
    the request of a batch; its future has an outcome a row. Raises ValueError for
    invalid options.
    """

    def __init__(
        self,
        lookup: Callable[[Mapping[str, Any]], Answer | None],
        submit: Submit[F],
        options: StreamOptions,
        bar: Bar | None = None,
    ) -> None:
        _check(options)
        self._lookup = lookup
        self._submit: Submit[F] = submit
        self._options = options
        self._bar = bar
        self._batch_rows = max(options.window // _BATCHES, 1)
        self._slots: deque[Answer | tuple[_Batch, int]] = deque()
        self._batch = _Batch()
        self._under_way: set[F] = set()  # done ones are discarded from any thread

    def __bool__(self) -> bool:
        return bool(self._slots)

    @property
    def has_room(self) -> bool:
        return len(self._slots) < self._options.window

    def add(self, row: Any) -> None:
        """Append a row: look it up locally, or put it into a batch."""
        answer = self._lookup(row)
        if answer is not None:
            self._slots.append(answer)
            return
        rows = self._batch.rows
        self._slots.append((self._batch, len(rows)))
        # The iterator of rows may yield one object again and again.
        rows.append(dict(row) if isinstance(row, Mapping) else row)
        self._push()

    def head(self) -> F | None:
        """Return what the next answer waits for; None if it is there."""
        self._push()
        slot = self._slots[0]
        if isinstance(slot, Answer) or slot[0].outcomes is not None:
            return None
        if slot[0].pending is None:  # batches under way are done, but not discarded yet
            self.flush()
        pending: F = slot[0].pending
        return None if pending.done() else pending

    def pop(self) -> RowOutcome:
        """Remove and return the next outcome. Raises an error that is not returned."""
        slot = self._slots.popleft()
        outcome: RowOutcome = slot if isinstance(slot, Answer) else _outcome(*slot)
        if isinstance(outcome, GomlxError) and not self._is_returned(outcome):
            raise outcome
        if self._bar:
            self._bar.step()
        return outcome

    def flush(self) -> None:
        """Submit the batch that waits for more rows."""
        batch = self._batch
        if batch.rows:
            self._batch = _Batch()
            batch.pending = self._submit(batch.rows)
            self._under_way.add(batch.pending)
            batch.pending.add_done_callback(self._under_way.discard)

    def close(self) -> None:
        """Cancel the batches under way; submit no more."""
        self._batch = _Batch()
        for pending in list(self._under_way):
            pending.cancel()
        if self._bar:
            self._bar.close()

    def _push(self) -> None:
        if not self._under_way or len(self._batch.rows) >= self._batch_rows:
            self.flush()

    def _is_returned(self, error: GomlxError) -> bool:
        return self._options.errors == "return" and isinstance(error, ROW_ERRORS)


def _outcome(batch: _Batch, place: int) -> RowOutcome:
    if batch.outcomes is None:
        batch.outcomes = batch.pending.result()
    return batch.outcomes[place]


def _check(options: StreamOptions) -> None:
    if options.window < 1:
        raise ValueError(f"window: expected 1 or more rows, got {options.window}")
    if options.errors not in ("raise", "return"):
        raise ValueError(
            f"errors: expected 'raise' or 'return', got {options.errors!r}"
        )
