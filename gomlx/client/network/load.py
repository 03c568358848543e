"""Rows that are fetched together, and how many callers wait for them."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Mapping
from typing import Any

from gomlx.client.answer import AnswerEntry
from gomlx.client.local.client_model import ClientModel
from gomlx.client.local.rows import MissingRow
from gomlx.errors import DeadlineExceeded


class Load:
    """Rows that one task fetches, with a flight for each: the future of its entry.

    Callers wait for any of the flights between `join` and `leave`; when the last one
    leaves, the task is cancelled. deadline: on the loop's clock.
    """

    task: asyncio.Task[None]

    def __init__(
        self,
        client_model: ClientModel,
        rows: Mapping[Hashable, MissingRow],
        deadline: float,
    ) -> None:
        self.client_model = client_model
        self.rows = rows
        self.deadline = deadline
        loop = asyncio.get_running_loop()
        self.flights: dict[Hashable, asyncio.Future[AnswerEntry]] = {
            key: loop.create_future() for key in rows
        }
        self._waiters = 0

    def start(
        self, work: Coroutine[Any, Any, None], on_end: "Callable[[Load], None]"
    ) -> None:
        """Run the task that fetches the rows; when it ends, so does every flight."""

        def ended(task: asyncio.Task[None]) -> None:
            on_end(self)
            self._end_flights(None if task.cancelled() else task.exception())

        self.task = asyncio.get_running_loop().create_task(work)
        self.task.add_done_callback(ended)

    def join(self) -> None:
        """Count one more caller that waits."""
        self._waiters += 1

    def leave(self) -> None:
        """Count one caller less; abandoned work is cancelled."""
        self._waiters -= 1
        if not self._waiters:
            self.task.cancel()

    def settle(self, key: Hashable, entry: AnswerEntry) -> None:
        """End a row's flight with its entry, which is not kept."""
        self.flights[key].set_result(entry)

    def keep(self, key: Hashable, entry: AnswerEntry) -> None:
        """End a row's flight with its entry, and keep that."""
        self.client_model.store(key, self.rows[key].plain, entry)
        self.flights[key].set_result(entry)

    def entry(self, key: Hashable) -> AnswerEntry:
        """Return a row's entry: a DeadlineExceeded's if it has none yet.

        Raises what the task raised, if that is not a GomlxError.
        """
        flight = self.flights[key]
        if flight.done() and not flight.cancelled():
            return flight.result()
        model = self.client_model.contract.model
        late = DeadlineExceeded(f"model {model!r}: no answer in time")
        return self.client_model.failed(late)

    def _end_flights(self, bug: BaseException | None) -> None:
        for flight in self.flights.values():
            if flight.done():
                continue
            if bug:  # ours, or one of a user's transport: all who wait must see it
                flight.set_exception(bug)
            else:
                flight.cancel()
