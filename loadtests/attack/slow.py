"""Attacks that take places and time: slow clients, idle ones, and many."""

import asyncio
import itertools
from functools import partial

from loadtests.attack.attacker import Attack, Attacker

_LINE_BYTES = 64


async def heads(attacker: Attacker, number: int) -> None:
    """Send a head byte by byte."""
    async with attacker.connected() as wire:
        await wire.drip(attacker.target.hit)


async def other_heads(attacker: Attacker, number: int) -> None:
    """Send the head of another route byte by byte."""
    async with attacker.connected() as wire:
        await wire.drip(attacker.target.get("/readyz", "X: y\r\n" * 50))


async def bodies(attacker: Attacker, number: int) -> None:
    """Send a head, and the body byte by byte."""
    request = attacker.target.post(b" " * 1000)
    async with attacker.connected() as wire:
        await wire.send(request[:-1000])
        await wire.drip(request[-1000:])


async def chunks(route: str, attacker: Attacker, number: int) -> None:
    """Send a body in chunks of a byte."""
    head = f"POST {attacker.target.path(route)} HTTP/1.1\r\nHost: a\r\n"
    async with attacker.connected() as wire:
        await wire.send(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        for _ in range(1000):
            await wire.drip(b"1")
            await wire.send(b"\r\n \r\n")


async def readers(attacker: Attacker, number: int) -> None:
    """Ask again and again, and read nothing."""
    async with attacker.connected() as wire:
        for path in itertools.repeat(attacker.target.path("meta/dictionary")):
            await wire.send(attacker.target.get(path) + attacker.target.hit * 50)


async def idle(attacker: Attacker, number: int) -> None:
    """Connect, and say nothing."""
    async with attacker.connected() as wire:
        await wire.idle()


async def idle_after_one(attacker: Attacker, number: int) -> None:
    """Ask once, and stay."""
    async with attacker.connected() as wire:
        await wire.send(attacker.target.hit)
        await wire.response()
        await wire.idle()


async def connections(attacker: Attacker, number: int) -> None:
    """Connect, and leave."""
    async with attacker.connected() as wire:
        await asyncio.sleep(0)
        del wire


async def stalled_handshakes(attacker: Attacker, number: int) -> None:
    """Begin a handshake of TLS, and stay."""
    async with attacker.connected("") as wire:
        await wire.send(b"\x16\x03\x01\x02\x00"[: number % 6])
        await wire.idle()


async def handshakes(attacker: Attacker, number: int) -> None:
    """Shake hands, and leave."""
    async with attacker.connected():
        return


ATTACKS = [
    Attack("connections that come and go", connections, many=True),
    Attack("idle connections", idle, many=True),
    Attack("idle connections after a request", idle_after_one, many=True),
    Attack("slow heads", heads, many=True),
    Attack("slow heads of another route", other_heads, many=True),
    Attack("slow bodies", bodies, many=True),
    Attack("slow bodies in chunks", partial(chunks, "eval"), many=True),
    Attack("slow streams", partial(chunks, "stream"), many=True),
    Attack("clients that do not read", readers),
    Attack("handshakes that stall", stalled_handshakes, many=True, needs_tls=True),
    Attack("handshakes", handshakes, needs_tls=True),
]
