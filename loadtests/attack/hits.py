"""The other clients: hits at a steady rate, while somebody attacks.

An open loop: a request is sent when it is due, whatever became of those before. Its
time counts from when this process woke up to send it, and includes the wait for a free
connection, but not how late this process was itself. One of ten comes over a new
connection. If a kept connection is closed before anything of the answer has come, the
request is sent again over a new one, as clients of HTTP do, and counts from the start.
"""

import asyncio
import json
import os
import re
import ssl
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from loadtests.attack.target import Target

RATE = 200  # a second
_KEPT = 8  # connections
_NEW = 10  # one of so many requests has a connection of its own
_LONGEST_SECONDS = 10
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")


class Hit(NamedTuple):
    """One request. began: by time.monotonic. problem: why it failed, or ""."""

    began: float
    seconds: float
    problem: str
    is_second_try: bool


@dataclass(frozen=True)
class Span:
    """How long hits go on: so many seconds after the file `over` is there, or at most.

    Another process makes it, in a folder where the first hit has made the file `begun`.
    """

    folder: Path
    more: float
    most: float

    @property
    def begun(self) -> Path:
        """There once hits are sent."""
        return self.folder / "begun"

    @property
    def over(self) -> Path:
        """There once the attack has ended."""
        return self.folder / "over"


class _Unanswered(ConnectionError):
    """The connection has ended, and brought nothing of the answer."""


class _Connection:
    """A connection that has one request at a time."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._reader = reader
        self._writer = writer

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Return the status and the body. Raises OSError."""
        try:
            self._writer.write(request)
            first = await self._reader.readexactly(1)
        except (OSError, EOFError) as error:
            raise _Unanswered(str(error)) from None
        try:
            head = first + await self._reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            body = await self._reader.readexactly(int(length[1]) if length else 0)
        except EOFError:
            raise ConnectionError("the connection has ended in an answer") from None
        return int(head[9:12]), body

    def close(self) -> None:
        """Close it."""
        self._writer.transport.abort()


class Hits:
    """Well-behaved clients of one service."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._context: ssl.SSLContext | None = target.context()
        self._free: asyncio.LifoQueue[_Connection | None] = asyncio.LifoQueue()
        self._expected: Any = None
        self._done: list[Hit] = []

    async def run(self, span: Span) -> Sequence[Hit]:
        """Ask for so long; return every request, in the order of their ends."""
        for _ in range(_KEPT):
            self._free.put_nowait(None)
        await self._warm()
        span.begun.touch()
        started = time.monotonic()
        end = started + span.most
        is_over = False
        async with asyncio.TaskGroup() as tasks:
            for n in count():
                await asyncio.sleep(started + n / RATE - time.monotonic())
                now = time.monotonic()
                if now >= end:
                    break
                tasks.create_task(self._one(now, n % _NEW == 0))
                if not is_over and span.over.exists():
                    is_over = True
                    end = min(end, now + span.more)
        while not self._free.empty():
            if kept := self._free.get_nowait():
                kept.close()
        return self._done

    async def _warm(self) -> None:
        """Have the row cached, and know its answer. Raises RuntimeError."""
        for _ in range(3):
            connection = await self._connected()
            status, body = await connection.ask(self._target.hit)
            connection.close()
            if status != 200:
                raise RuntimeError(f"a hit gets {status} {body[:300]!r}")
            self._expected = json.loads(body)["data"]

    async def _one(self, began: float, is_new: bool) -> None:
        problem = ""
        is_second_try = False
        try:
            async with asyncio.timeout(_LONGEST_SECONDS):
                is_second_try = await (self._anew() if is_new else self._on_kept())
        except TimeoutError:
            problem = "no answer"
        except OSError as error:
            problem = str(error) or type(error).__name__
        seconds = time.monotonic() - began
        self._done.append(Hit(began, seconds, problem, is_second_try))

    async def _on_kept(self) -> bool:
        """Ask on a connection that is kept; return whether it took a second one."""
        kept = await self._free.get()
        is_second_try = False
        try:
            if kept is not None:
                try:
                    await self._ask(kept)
                    return False
                except _Unanswered:
                    is_second_try = True
                    kept.close()
                    kept = None
            kept = await self._connected()
            await self._ask(kept)
            return is_second_try
        except BaseException:
            if kept is not None:
                kept.close()
            kept = None
            raise
        finally:
            self._free.put_nowait(kept)

    async def _anew(self) -> bool:
        connection = await self._connected()
        try:
            await self._ask(connection)
        finally:
            connection.close()
        return False

    async def _ask(self, connection: _Connection) -> None:
        status, body = await connection.ask(self._target.hit)
        if status != 200:
            raise OSError(f"status {status}")
        if json.loads(body)["data"] != self._expected:
            raise OSError(f"a wrong answer: {body[:300]!r}")

    async def _connected(self) -> _Connection:
        return _Connection(*await self._target.connect(self._context))


def measure(target: Target, span: Span, cores: Sequence[int]) -> Sequence[Hit]:
    """Ask for hits for so long, in this process; cores: that it may use."""
    with suppress(OSError):
        os.sched_setaffinity(0, cores)
    return asyncio.run(Hits(target).run(span))
