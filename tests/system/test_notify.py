"""systemd's notify protocol: a real service, and a socket in place of systemd's."""

import signal
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import saved_models
from tests.support.processes import parent_of
from tests.support.service import Service, running, wait_for

_CREDENTIALS = struct.Struct("3i")  # ucred(7): pid, uid, gid


class Systemd:
    """A notify socket. lines: what came, and senders: the processes that sent it."""

    def __init__(self, address: Path) -> None:
        self.lines: list[str] = []
        self.senders: set[int] = set()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind(str(address))
        self._thread = threading.Thread(target=self._receive)
        self._thread.start()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RD)
        self._thread.join()
        self._socket.close()

    def _receive(self) -> None:
        size = socket.CMSG_SPACE(_CREDENTIALS.size)
        while True:
            data, ancillary, _, _ = self._socket.recvmsg(4096, size)
            if not data:
                return
            pid, _, _ = _CREDENTIALS.unpack(ancillary[0][2])
            self.senders.add(pid)
            self.lines += data.decode().splitlines()


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    systemd = Systemd(tmp_path / "notify")
    yield systemd
    systemd.close()


@pytest.fixture
def service(tmp_path: Path, systemd: Systemd) -> Iterator[Service]:
    saved_models.scale(tmp_path / "m", 2.0)
    prefix = ["env", f"NOTIFY_SOCKET={tmp_path / 'notify'}", "WATCHDOG_USEC=900000"]
    with running(tmp_path, {"models": [{"id": "m", "url": "m"}]}, prefix) as service:
        yield service


def test_a_life_under_systemd(service: Service, systemd: Systemd) -> None:
    wait_for(lambda: "READY=1" in systemd.lines)
    assert service.post("m", {"x": 3.0}).json()["data"] == {"y": 6.0}
    before = systemd.lines.count("WATCHDOG=1")
    wait_for(lambda: systemd.lines.count("WATCHDOG=1") >= before + 2)
    assert "STOPPING=1" not in systemd.lines
    (worker,) = service.worker_pids()
    for pid in (worker, parent_of(worker)):  # what they would send is ignored
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        assert b"NOTIFY_SOCKET" not in environment
        assert b"WATCHDOG" not in environment
    service.process.send_signal(signal.SIGHUP)
    wait_for(lambda: systemd.lines.count("READY=1") == 2)
    assert service.stop() == 0
    wait_for(lambda: "STOPPING=1" in systemd.lines)
    said = [x for x in systemd.lines if not x.startswith(("WATCHDOG", "MONOTONIC"))]
    assert said == [
        "STATUS=staging and loading the models",
        "READY=1",
        "STATUS=serving",
        "RELOADING=1",
        "STATUS=reading the config",
        "READY=1",
        "STATUS=serving",
        "STOPPING=1",
        "STATUS=answering what is under way",
    ]
    assert systemd.senders == {service.process.pid}  # NotifyAccess=main
