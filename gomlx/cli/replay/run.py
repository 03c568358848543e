"""Sends logged rows again: in time, or as fast as they are answered."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from gomlx.cli.replay.compare import difference
from gomlx.cli.replay.log_lines import LoggedRow
from gomlx.cli.replay.result import ReplayResult
from gomlx.cli.values import to_json
from gomlx.client.answer import Answer
from gomlx.client.async_client import AsyncClient
from gomlx.errors import GomlxError

_BATCH_SIZE = "batch_size"


@dataclass(frozen=True)
class ReplayPace:
    """How fast rows are sent.

    speed: how many times as fast as they came; None: as fast as they are answered.
    concurrency: how many are under way at most.
    """

    speed: float | None
    concurrency: int


class Replay:
    """Sends rows, and compares their answers.

    connect: makes a client of a model and a signature, or none. on_row: called after
    each row.
    """

    def __init__(
        self,
        connect: Callable[[str, str | None], AsyncClient],
        pace: ReplayPace,
        tolerance: float,
        on_row: Callable[[int], None],
    ) -> None:
        self._connect = connect
        self._pace = pace
        self._tolerance = tolerance
        self._on_row = on_row
        self._result = ReplayResult()
        self._clients: dict[str, AsyncClient] = {}

    async def run(self, rows: Iterator[LoggedRow]) -> ReplayResult:
        """Send all rows. Raises what iterating over them raises, and BaseExceptions."""
        result = self._result
        places = asyncio.Semaphore(self._pace.concurrency)
        began = perf_counter()
        try:
            async with self._closing(), asyncio.TaskGroup() as tasks:
                first = None
                for row in rows:
                    first = row.at if first is None else first
                    await self._wait(began, row.at - first)
                    await places.acquire()
                    task = tasks.create_task(self._send(row))
                    task.add_done_callback(lambda _: places.release())
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        result.seconds = perf_counter() - began
        return result

    @asynccontextmanager
    async def _closing(self) -> AsyncIterator[None]:
        try:
            yield
        finally:
            for client in self._clients.values():
                await client.close()

    async def _wait(self, began: float, seconds: float) -> None:
        """Wait until a row is due, that came so many seconds after the first."""
        if self._pace.speed is None:
            return
        early = began + seconds / self._pace.speed - perf_counter()
        if early > 0:
            await asyncio.sleep(early)
        else:
            self._result.late_seconds = max(self._result.late_seconds, -early)

    async def _send(self, row: LoggedRow) -> None:
        result = self._result
        result.logged_versions.add(row.version)
        try:
            answers = await self._answers(row)
        except GomlxError as error:
            result.add_failure(error)
        else:
            answer: Any = [_logged_form(one, row) for one in answers]
            answer = answer if _BATCH_SIZE in row.row else answer[0]
            result.add(row, answer, difference(row.answer, answer, self._tolerance))
            result.tiers[answers[0].tier] += 1
            result.versions.add(answers[0].version)
        self._on_row(result.rows)

    async def _answers(self, row: LoggedRow) -> list[Answer]:
        client = self._client(row.model)
        if _BATCH_SIZE not in row.row:
            return [await client.predict(row.row)]
        columns = {k: v for k, v in row.row.items() if k != _BATCH_SIZE}
        return await client.predict_batch(columns)

    def _client(self, name: str) -> AsyncClient:
        if name not in self._clients:
            model, _, signature = name.partition(":")
            self._clients[name] = self._connect(model, signature or None)
        return self._clients[name]


def _logged_form(answer: Answer, row: LoggedRow) -> Any:
    """Return an answer as it was logged: a transformer's may be no object."""
    found = to_json(dict(answer))
    is_object = isinstance(row.answer, dict | list)
    return found if is_object or found.keys() != {"answer"} else found["answer"]
