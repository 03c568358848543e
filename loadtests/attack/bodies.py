"""Hostile requests of HTTP/1.1: each costs as much as one can that is admitted."""

import gzip
import itertools
import json
import random
from collections.abc import Callable, Iterator
from functools import partial

from loadtests.attack.attacker import Attack, Attacker
from loadtests.attack.target import Target
from loadtests.fuzz.malformed import stream as malformed

_MEDIUM = (1 << 16) - 200  # bytes of a body
_LARGE = (1 << 20) - 200
_ROWS = 4096
_PIPELINED = 200
_ZEROS = 64 << 20
_UNKNOWN = "an unknown value {}"

Requests = Callable[[Target], Iterator[bytes]]


async def _ask(requests: Requests, attacker: Attacker, number: int) -> None:
    """Send requests one after the other, and read each answer."""
    async with attacker.connected() as wire:
        for request in requests(attacker.target):
            await wire.send(request)
            await wire.response()


async def _pipeline(attacker: Attacker, number: int) -> None:
    """Send many requests at once, and read the answers."""
    async with attacker.connected() as wire:
        request = attacker.target.hit * _PIPELINED
        while True:
            await wire.send(request)
            for _ in range(_PIPELINED):
                await wire.response()


async def _stream(attacker: Attacker, number: int) -> None:
    """Send many lines that no model takes, and read the answers."""
    target = attacker.target
    lines = (b'{"x":' + b"[" * 1000 + b"]" * 1000 + b"}\n") * 500
    async with attacker.connected() as wire:
        await wire.send(target.post(lines, "stream"))
        await wire.idle()


async def _broken_heads(attacker: Attacker, number: int) -> None:
    """Send what is malformed in some way."""
    rng = random.Random(number)
    while True:
        async with attacker.connected() as wire:
            await wire.send(malformed(rng))
            await wire.response()


async def _long_heads(attacker: Attacker, number: int) -> None:
    """Send a head without end."""
    async with attacker.connected() as wire:
        await wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n")
        for n in itertools.count():
            await wire.send(b"X-%d: %b\r\n" % (n, b"y" * 1000))


async def _without_end(attacker: Attacker, number: int) -> None:
    """Announce a body that is too large, and send it all the same."""
    target = attacker.target
    head = f"POST {target.path()} HTTP/1.1\r\nHost: a\r\nContent-Length: {1 << 40}"
    async with attacker.connected() as wire:
        await wire.send(head.encode() + b"\r\n\r\n")
        for part in itertools.repeat(bytes(1 << 16)):
            await wire.send(part)


def _documents(paths: list[str], target: Target) -> Iterator[bytes]:
    for path in itertools.cycle(paths):
        yield target.get(path)
        yield target.get(path, "Accept-Encoding: gzip\r\n")


def _meta(target: Target) -> Iterator[bytes]:
    names = ("config", "dictionary", "contract")
    return _documents([target.path(f"meta/{name}") for name in names], target)


def _posts(body: Callable[[Target], bytes], target: Target) -> Iterator[bytes]:
    return itertools.repeat(target.post(body(target)))


def _packed(target: Target) -> Iterator[bytes]:
    body = gzip.compress(bytes(_ZEROS))
    headers = "Content-Encoding: gzip\r\n"
    return itertools.repeat(target.post(body, headers=headers))


def _misses(target: Target) -> Iterator[bytes]:
    """Yield rows of values that nobody has asked for."""
    for n in itertools.count(random.randrange(1 << 30)):
        row = {
            name: _UNKNOWN.format(n) if isinstance(value, str) else n
            for name, value in target.row.items()
        }
        yield target.post(json.dumps(row).encode())


def _queries(target: Target) -> Iterator[bytes]:
    query = "&".join([f"k{i:x}=1" for i in range(1900)])
    return itertools.repeat(target.get(f"{target.path()}?{query}"))


def _list_of(element: bytes, size: int, target: Target) -> bytes:
    """Return a row whose first input is a list of as many elements as fit."""
    name = next(iter(target.row)).encode()
    parts = b",".join([element] * (size // (len(element) + 1)))
    return b'{"%b":[%b]}' % (name, parts)


def _deep(size: int, target: Target) -> bytes:
    name = next(iter(target.row)).encode()
    return b'{"%b":%b}' % (name, b"[" * (size // 2) + b"]" * (size // 2))


def _names(size: int, target: Target) -> bytes:
    return json.dumps({f"k{n:x}": 1 for n in range(size // 13)}).encode()


def _text(target: Target) -> bytes:
    return json.dumps({**target.row, next(iter(target.row)): "a" * _LARGE}).encode()


def _spaces(target: Target) -> bytes:
    return json.dumps(dict(target.row)).encode() + b" " * _LARGE


def _broadcast(target: Target) -> bytes:
    """Return a request of many rows that all have the same values."""
    columns = {
        name: ["a" * 400 if isinstance(value, str) else value]
        for name, value in target.row.items()
    }
    return json.dumps({**columns, "batch_size": _ROWS}).encode()


def _rows(target: Target) -> bytes:
    """Return as many rows as a request has."""
    columns = {name: [value] * _ROWS for name, value in target.row.items()}
    return json.dumps({**columns, "batch_size": _ROWS}).encode()


_BODIES: dict[str, Callable[[Target], bytes]] = {
    "big texts": _text,
    "big bodies of spaces": _spaces,
    "big floats": partial(_list_of, b"1." + b"5" * 5000, _LARGE),
    "many floats": partial(_list_of, b"1.5", _LARGE),
    "some floats": partial(_list_of, b"1.5", _MEDIUM),
    "deep JSON": partial(_deep, _LARGE),
    "less deep JSON": partial(_deep, _MEDIUM),
    "many keys": partial(_names, _LARGE),
    "some keys": partial(_names, _MEDIUM),
    "broadcast": _broadcast,
    "batches": _rows,
}
_REQUESTS: dict[str, Requests] = {
    "meta routes": _meta,
    "metrics": partial(_documents, ["/metrics"]),
    "readiness": partial(_documents, ["/readyz"]),
    "unknown routes": partial(_documents, ["/v1/api/model/nothing/eval", "/nothing"]),
    "long queries": _queries,
    "packed zeros": _packed,
    "misses": _misses,
}
ATTACKS = [
    *(Attack(name, partial(_ask, partial(_posts, of))) for name, of in _BODIES.items()),
    *(Attack(name, partial(_ask, of)) for name, of in _REQUESTS.items()),
    Attack("pipelines", _pipeline),
    Attack("hostile lines", _stream),
    Attack("malformed heads", _broken_heads),
    Attack("heads without end", _long_heads),
    Attack("bodies without end", _without_end),
]
