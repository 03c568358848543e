"""Requests that are admitted, and may block the event loop: what each costs the others.

    python -m loadtests.blocking [--rounds 5] [--only TEXT]

One worker of a real service on loopback gets one kind of request after the other, each
within its limits, while another client asks for cached answers, one after the other.
Prints, for each kind, the longest of these hits in the best of some rounds, which other
programs on the machine have disturbed least, and how long the requests took.
"""

import os
import socket
import tempfile
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, NamedTuple
from urllib.parse import urlsplit

import typer
from rich.console import Console
from rich.table import Table

from loadtests.blocking.hostile import Hostile, hostile_requests, post
from loadtests.blocking.models import HIT, save_models
from tests.support.service import running

_LONGEST_SECONDS = 30
_AROUND_SECONDS = 0.05  # of hits before and after
_ANSWER_BYTES = 1 << 16

Address = tuple[str, int]


class Figures(NamedTuple):
    """What requests of one kind did. Times in ms; status: of a response."""

    longest_hit: float
    own: float
    status: str


def measure(address: Address, hostile: Hostile) -> Figures:
    """Send requests of one kind, all at once, and ask for hits beside them."""
    done = threading.Event()
    with ThreadPoolExecutor(len(hostile.sent) + 1) as pool:
        hits = pool.submit(_longest_hit, address, done)
        try:
            time.sleep(_AROUND_SECONDS)
            started = time.perf_counter()
            statuses = [*pool.map(lambda sent: _ask(address, sent), hostile.sent)]
            own = (time.perf_counter() - started) * 1000
            time.sleep(_AROUND_SECONDS)
        finally:
            done.set()
        return Figures(hits.result(), own, " ".join(sorted({*statuses})))


def _longest_hit(address: Address, done: threading.Event) -> float:
    """Ask for a cached answer again and again; return the longest time, in ms."""
    sent = post(HIT, b'{"x":1}').replace(b"Connection: close\r\n", b"")
    longest = 0.0
    with socket.create_connection(address, _LONGEST_SECONDS) as connection:
        while not done.is_set():
            started = time.perf_counter()
            connection.sendall(sent)
            if not connection.recv(_ANSWER_BYTES).startswith(b"HTTP/1.1 200"):
                raise RuntimeError("a hit was not answered")
            longest = max(longest, time.perf_counter() - started)
    return longest * 1000


def _ask(address: Address, sent: bytes) -> str:
    """Send a request; read all of the response, and return its status."""
    with socket.create_connection(address, _LONGEST_SECONDS) as connection:
        connection.sendall(sent)
        first = connection.recv(_ANSWER_BYTES)
        is_http1 = first.startswith(b"HTTP/1.1 ")
        while connection.recv(_ANSWER_BYTES):
            pass
    return first[9:12].decode() if is_http1 else "HTTP/2"


def best(address: Address, only: str, rounds: int) -> dict[str, Figures]:
    """Return, for each kind, the round with the least delay."""
    found: dict[str, Figures] = {}
    for turn in range(rounds):
        for hostile in hostile_requests(turn):
            if only in hostile.name:
                figures = measure(address, hostile)
                found[hostile.name] = min(figures, found.get(hostile.name, figures))
    return found


def shown(found: Mapping[str, Figures]) -> Table:
    """Return the table."""
    table = Table("request", "status", "its own ms", "longest hit, ms")
    for name, figures in found.items():
        own = f"{figures.own:.0f}"
        table.add_row(name, figures.status, own, f"{figures.longest_hit:.1f}")
    return table


def main(
    rounds: Annotated[int, typer.Option(min=1)] = 5,
    only: Annotated[str, typer.Option(help="Kinds whose name has this.")] = "",
) -> None:
    """Measure each kind, and print the table."""
    console = Console(width=120)
    console.print(f"load of the machine before: {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        models = [
            {"id": name, "url": str(path), "datastore": "answers"}
            for name, path in save_models(folder).items()
        ]
        config = {
            "models": models,
            "datastores": [{"id": "answers", "memory_mb": 64}],
        }
        with running(folder, config) as service:
            address = urlsplit(service.url)
            where = (address.hostname or "", address.port or 0)
            found = best(where, only, rounds)
    console.print(shown(found))
    console.print(f"load of the machine after: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    typer.run(main)
