"""The connections of an open loop."""

import socket
from collections.abc import Iterator

import pytest

from loadtests.load.connections import Connections
from loadtests.load.traffic import HIT, Request

_REQUEST = Request(HIT, b"GET / HTTP/1.1\r\n\r\n")
_RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture
def connections(server: socket.socket) -> Iterator[Connections]:
    made = Connections(f"http://127.0.0.1:{server.getsockname()[1]}", 1)
    yield made
    made.close()


def test_a_response_is_returned_when_it_is_whole(
    server: socket.socket, connections: Connections
) -> None:
    connection = connections.acquire()
    assert connection is not None
    assert connections.acquire() is None
    connection.send(0.5, _REQUEST)
    peer, _ = server.accept()
    with peer:
        for part in (_RESPONSE[:20], _RESPONSE[20:-1]):
            peer.sendall(part)
            assert [one.receive() for one in connections.poll(5)] == [None]
        peer.sendall(_RESPONSE[-1:])
        assert [one.receive() for one in connections.poll(5)] == [_RESPONSE]
    assert (connection.due, connection.request) == (0.5, _REQUEST)
    connections.release(connection)
    assert connections.acquire() is connection


def test_a_response_without_a_length_is_an_error(
    server: socket.socket, connections: Connections
) -> None:
    peer, _ = server.accept()
    with peer:
        peer.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        (connection,) = connections.poll(5)
        with pytest.raises(ValueError, match="without a length"):
            connection.receive()


@pytest.mark.parametrize("is_free", [True, False])
def test_a_lost_connection_is_replaced(
    server: socket.socket, connections: Connections, is_free: bool
) -> None:
    connection = None if is_free else connections.acquire()
    peer, _ = server.accept()
    peer.close()
    (lost,) = connections.poll(5)
    with pytest.raises(ConnectionResetError):
        lost.receive()
    assert connections.replace(lost) is is_free
    assert connections.acquire() not in (None, lost)
    assert connection in (None, lost)
    assert connections.acquire() is None
