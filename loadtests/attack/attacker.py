"""One attack: connections that each do the same again and again, for some time."""

import asyncio
import os
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from loadtests.attack.target import Target
from loadtests.fuzz.frames import GOAWAY

_AGAIN_SECONDS = 0.01  # after a connection has ended: nobody spins
_STEP_SECONDS = 0.25  # between two bytes of a slow client
_NICENESS = 10  # the other clients, on the same core, go first
_READ_BYTES = 1 << 18


@dataclass
class Done:
    """What an attack has done. began, ended: by time.monotonic.

    answers: how often each status, frame or end of a connection came.
    """

    began: float
    ended: float = 0.0
    opened: int = 0
    sent: int = 0
    answers: Counter[str] = field(default_factory=Counter)


class Wire:
    """One connection of an attacker."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, done: Done
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._done = done

    async def send(self, data: bytes) -> None:
        """Send, and wait while the peer reads nothing. Raises OSError."""
        self._writer.write(data)
        self._done.sent += len(data)
        await self._writer.drain()
        await asyncio.sleep(0)  # drain does not wait if there is room

    async def drip(self, data: bytes) -> None:
        """Send a byte now and then, until the connection ends."""
        for byte in data:
            if self._reader.at_eof():
                raise EOFError
            await self.send(bytes((byte,)))
            await asyncio.sleep(_STEP_SECONDS)

    async def response(self) -> None:
        """Read one response of HTTP/1.1, and count its status. Raises OSError."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        self._done.answers[head[9:12].decode("latin-1")] += 1
        lower = head.lower()
        if b"\r\ncontent-length:" in lower:
            length = int(lower.split(b"\r\ncontent-length:")[1].split(b"\r\n")[0])
            await self._reader.readexactly(length)
        if b"\r\nconnection: close" in lower or b"\r\ntransfer-encoding" in lower:
            raise EOFError

    async def discard(self) -> None:
        """Read until the end."""
        while await self._reader.read(_READ_BYTES):
            pass

    async def frames(self) -> None:
        """Read frames of HTTP/2 until the end, and count the errors of GOAWAYs."""
        with suppress(OSError, EOFError):
            while True:
                head = await self._reader.readexactly(9)
                payload = await self._reader.readexactly(int.from_bytes(head[:3]))
                if head[3] == GOAWAY:
                    self._done.answers[f"GOAWAY {payload[7]}"] += 1

    async def idle(self) -> None:
        """Wait for the end, and count the status of what comes."""
        first = await self._reader.read(_READ_BYTES)
        if first.startswith(b"HTTP/1."):
            self._done.answers[first[9:12].decode("latin-1")] += 1
        await self.discard()

    def close(self) -> None:
        """Close it at once."""
        self._writer.transport.abort()


class Attacker:
    """Makes the connections of one attack, and counts what they do."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.done = Done(time.monotonic())
        self._contexts: dict[str, ssl.SSLContext | None] = {}

    @asynccontextmanager
    async def connected(self, protocol: str = "http/1.1") -> AsyncIterator[Wire]:
        """Open a connection; protocol: by ALPN, "": without TLS, whatever the URL.

        HTTP/2 in the clear is for trusted peers, so it comes from the first address.
        """
        if protocol not in self._contexts:
            context = self.target.context(protocol) if protocol else None
            self._contexts[protocol] = context
        context = self._contexts[protocol]
        is_attack = self.target.is_tls or protocol != "h2"
        opened = await self.target.connect(context, is_attack)
        self.done.opened += 1
        wire = Wire(*opened, self.done)
        try:
            yield wire
        finally:
            wire.close()


class Attack(NamedTuple):
    """A kind of attack: what one connection does, until it ends.

    many: whether as many connections as may be take part, or a few.
    """

    name: str
    run: Callable[[Attacker, int], Awaitable[None]]
    many: bool = False
    needs_tls: bool = False


async def _repeat(attack: Attack, attacker: Attacker, number: int) -> None:
    while True:
        try:
            await attack.run(attacker, number)
        except (OSError, EOFError, asyncio.LimitOverrunError) as error:
            attacker.done.answers[_end(error)] += 1
        await asyncio.sleep(_AGAIN_SECONDS)


def _end(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "not accepted"
    return "closed" if isinstance(error, EOFError | ConnectionError) else "refused"


async def _attack(
    target: Target, attack: Attack, connections: int, seconds: float
) -> Done:
    attacker = Attacker(target)
    tasks = [
        asyncio.create_task(_repeat(attack, attacker, number))
        for number in range(connections)
    ]
    _, running = await asyncio.wait(tasks, timeout=seconds)
    attacker.done.ended = time.monotonic()
    for task in running:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        if not task.cancelled() and (error := task.exception()):
            raise error  # a bug of ours
    return attacker.done


def run(
    target: Target,
    attack: Attack,
    connections: int,
    seconds: float,
    cores: Sequence[int],
) -> Done:
    """Attack for so long, in this process; cores: that it may use."""
    with suppress(OSError):
        os.sched_setaffinity(0, cores)
        os.setpriority(os.PRIO_PROCESS, 0, _NICENESS)
    return asyncio.run(_attack(target, attack, connections, seconds))
