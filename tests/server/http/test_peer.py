"""The peer, by way of a transport that notes its calls."""

import pytest

from gomlx.server.http.peer import Inflow, Peer
from gomlx.server.http.response import CONTINUE
from tests.server.http.transport import Transport


@pytest.fixture
def transport() -> Transport:
    return Transport()


def test_answers_are_written_together(transport: Transport) -> None:
    peer = Peer(transport)
    peer.send()
    assert transport.written == b""
    peer.unsent += [b"1", b"2"]
    peer.send()
    peer.send()
    assert transport.written == b"12"


def test_discarded_answers_are_not_written(transport: Transport) -> None:
    peer = Peer(transport)
    peer.unsent.append(b"1")
    peer.discard_unsent()
    peer.send()
    assert transport.written == b""


def test_a_connection_is_closed_once_all_is_written(transport: Transport) -> None:
    peer = Peer(transport)
    peer.unsent.append(b"1")
    peer.close()
    assert transport.written == b"1"
    assert transport.calls == ["close"]


def test_a_probe_is_written_after_the_answers(transport: Transport) -> None:
    peer = Peer(transport)
    peer.unsent.append(b"1")
    peer.probe()
    assert transport.written == b"1" + CONTINUE


def test_reading_is_paused_and_resumed_once(transport: Transport) -> None:
    peer = Peer(transport)
    for is_reading in (True, False, False, True, True):
        peer.set_reading(is_reading)
    assert transport.calls == ["pause", "resume"]
    assert peer.inflow is Inflow.OPEN


def test_a_half_closed_peer_is_neither_paused_nor_resumed(transport: Transport) -> None:
    peer = Peer(transport)
    peer.inflow = Inflow.ENDED
    peer.set_reading(False)
    peer.set_reading(True)
    assert not transport.calls
    assert peer.inflow is Inflow.ENDED
