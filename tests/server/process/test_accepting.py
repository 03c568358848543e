"""Connections are accepted fast, and opened in turns."""

import asyncio
import errno
import os
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gomlx.server.process.gunicorn.accepting import Acceptor
from gomlx.server.rounds import Rounds
from tests.server.conftest import until

pytestmark = pytest.mark.asyncio


class Opened(asyncio.Protocol):
    """A connection that is noted in a list."""

    def __init__(self, made: "list[Opened]") -> None:
        self._made = made

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._made.append(self)

    @property
    def host(self) -> str:
        return str(self.transport.get_extra_info("peername")[0])


class Site:
    """An acceptor, what it has opened, and its clients."""

    def __init__(
        self, listener: socket.socket, rounds: Rounds, most: int = 1000
    ) -> None:
        self.listener = listener
        self.made: list[Opened] = []
        self.acceptor = Acceptor(listener, lambda: Opened(self.made), rounds, most)
        self.clients: list[socket.socket] = []

    def connect(self, source: str = "127.0.0.1") -> socket.socket:
        """Connect without a turn of the event loop."""
        address = self.listener.getsockname()
        client = socket.create_connection(address, 10, (source, 0))
        self.clients.append(client)
        return client

    def end(self) -> None:
        for client in self.clients:
            client.close()
        for one in self.made:
            one.transport.abort()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound


@pytest_asyncio.fixture
async def site(listener: socket.socket) -> AsyncIterator[Site]:
    site = Site(listener, Rounds(calls=1))
    yield site
    site.acceptor.close()
    await asyncio.wait_for(site.acceptor.wait_closed(), 30)
    site.end()


async def test_an_address_does_not_wait_for_the_connections_of_another(
    site: Site,
) -> None:
    for _ in range(200):
        site.connect("127.0.0.2")
    site.connect("127.0.0.3")
    while not site.made or site.made[-1].host != "127.0.0.3":
        await asyncio.sleep(0)
    assert len(site.made) < 150
    await until(lambda: len(site.made) == 201)


async def test_so_many_wait_for_their_turn_and_no_more(
    listener: socket.socket,
) -> None:
    site = Site(listener, Rounds(calls=1), most=4)
    for _ in range(20):
        site.connect()
    descriptors = len(os.listdir("/proc/self/fd"))
    while len(site.made) < 20:
        await asyncio.sleep(0)
        more = len(os.listdir("/proc/self/fd")) - descriptors
        assert more <= len(site.made) + 6  # one opens, and one is the folder
    site.acceptor.close()
    site.end()


async def test_who_has_left_before_its_turn_is_not_opened(site: Site) -> None:
    for _ in range(50):
        site.connect().close()
    last = site.connect()
    last.sendall(b"1")
    await until(lambda: bool(site.made))
    await asyncio.sleep(0)
    assert len(site.made) == 1


async def test_what_is_accepted_is_opened_before_it_is_closed(site: Site) -> None:
    for _ in range(20):
        site.connect()
    while not site.made:
        await asyncio.sleep(0)
    site.acceptor.close()
    accepted = len(site.made)
    await asyncio.wait_for(site.acceptor.wait_closed(), 30)
    assert accepted < len(site.made) <= 20


async def test_others_accept_on_the_same_socket(
    site: Site, listener: socket.socket
) -> None:
    with listener.dup() as same:
        other = Site(same, Rounds(calls=1))
        site.acceptor.close()
        site.connect()
        await until(lambda: bool(other.made))
        other.acceptor.close()
    other.end()
    assert not site.made


async def test_a_socket_that_is_shut_down_ends_it(site: Site) -> None:
    site.listener.shutdown(socket.SHUT_RDWR)
    await asyncio.wait_for(site.acceptor.wait_closed(), 30)


async def test_connections_of_a_path(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "s"))
        made: list[Opened] = []
        acceptor = Acceptor(bound, lambda: Opened(made), Rounds())
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / "s"))
            await until(lambda: bool(made))
        acceptor.close()


class Full(socket.socket):
    """A listener of a process that has no more files, for some time."""

    is_full = True

    def accept(self) -> Any:
        if self.is_full:
            self.is_full = False
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


async def test_one_goes_on_when_there_are_files_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Full() as bound:
        bound.bind(("127.0.0.1", 0))
        site = Site(bound, Rounds())
        site.connect()
        await until(lambda: bool(site.made))
        site.acceptor.close()
        site.end()
    assert "cannot accept connections" in caplog.text
