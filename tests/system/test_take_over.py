"""A new service takes over the port, or the path, of one that runs, under load."""

import signal
import socket
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support import saved_models
from tests.support.service import PLAIN, Service, running, wait_for

EVAL = "/v1/api/model/m/eval"
# Passes a socket as systemd does: as file descriptor 3.
LEND = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
os.execv(sys.argv[2], sys.argv[2:])
"""


class Load(threading.Thread):
    """Asks all the time, on connections that go on, or on a new one each time."""

    def __init__(self, url: str, path: Path | None, is_new: bool) -> None:
        super().__init__()
        self.answers = 0
        self.failed: list[str] = []
        self._url = url
        self._path = path
        self._is_new = is_new
        self._is_over = threading.Event()
        self.start()

    def end(self) -> None:
        self._is_over.set()
        self.join(60)

    def run(self) -> None:
        while not self._is_over.is_set():
            where = None if self._path is None else str(self._path)
            transport = httpx.HTTPTransport(uds=where, verify=PLAIN)
            with httpx.Client(base_url=self._url, transport=transport) as client:
                is_first = True
                while (is_first or not self._is_new) and not self._is_over.is_set():
                    is_first = False
                    self._ask(client)

    def _ask(self, client: httpx.Client) -> None:
        x = float(self.answers // 3)  # misses and hits
        try:
            answer = client.post(EVAL, json={"x": x}, timeout=30)
        except httpx.HTTPError as error:
            self.failed.append(repr(error))
            return
        if answer.json().get("data") != {"y": 2.0 * x}:
            self.failed.append(answer.text)
        self.answers += 1


@contextmanager
def loads(url: str, *paths: Path | None) -> Iterator[list[Load]]:
    all_loads = [Load(url, path, is_new) for path in paths for is_new in (False, True)]
    try:
        wait_for(lambda: all(one.answers > 20 for one in all_loads))
        yield all_loads
    finally:
        for one in all_loads:
            one.end()


def asked_more(all_loads: list[Load]) -> None:
    before = [one.answers for one in all_loads]
    wait_for(
        lambda: all(
            one.answers > n + 20 for one, n in zip(all_loads, before, strict=True)
        )
    )


def config(**endpoint: Any) -> dict[str, Any]:
    return {
        "models": [{"id": "m", "url": "../m"}],
        "endpoint": {"workers": 2, "drain_seconds": 1, **endpoint},
    }


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    saved_models.scale(tmp_path / "m", 2.0)
    old = tmp_path / "old"
    new = tmp_path / "new"
    for folder in (old, new):
        folder.mkdir()
    return old, new


def test_a_shared_port_and_a_path_are_taken_over(folders: tuple[Path, Path]) -> None:
    old, new = folders
    path = old / "gomlx.sock"
    shared = {"socket": str(path), "reuse_port": True}
    with ExitStack() as stack:
        first = stack.enter_context(running(old, config(**shared, socket_mode="600")))
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        all_loads = stack.enter_context(loads(first.url, None, path))
        port = httpx.URL(first.url).port
        second = stack.enter_context(running(new, config(**shared, port=port)))
        assert second.url == first.url
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        asked_more(all_loads)
        assert first.stop(signal.SIGTERM) == 0
        asked_more(all_loads)
        for one in all_loads:
            one.end()
        assert [one.failed for one in all_loads] == [[]] * 4
        assert second.metric("gomlx_requests_total", model="m") > 40
    assert not path.exists()


def test_a_path_is_not_taken_from_a_service_that_runs(tmp_path: Path) -> None:
    saved_models.scale(tmp_path / "m", 2.0)
    path = tmp_path / "gomlx.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        service = Service(tmp_path, config(socket="gomlx.sock"))
        service.launch()
        assert service.process.wait(60) == 1
        assert "another service listens there" in service.text()
    path.unlink()
    path.write_text("no socket")
    service.launch()
    assert service.process.wait(60) == 1
    assert "there is a file that is no socket" in service.text()
    assert path.read_text() == "no socket"


@contextmanager
def lent(folder: Path, listening: socket.socket) -> Iterator[Service]:
    """Run a service on a socket that was passed to it."""
    number = listening.fileno()
    prefix = [sys.executable, "-c", LEND, str(number)]
    service = Service(folder, config(port=1), prefix)
    service.passed = [number]
    service.stage_all()
    try:
        service.start()
        yield service
    finally:
        if service.process.poll() is None:
            service.stop()


def test_a_socket_of_systemd_goes_from_one_service_to_the_next(
    folders: tuple[Path, Path],
) -> None:
    old, new = folders
    with ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        first = stack.enter_context(lent(old, listening))
        host, port = listening.getsockname()
        assert first.url == f"http://{host}:{port}"
        all_loads = stack.enter_context(loads(first.url, None))
        assert first.stop(signal.SIGTERM) == 0  # connections wait for the next one
        with lent(new, listening):
            asked_more(all_loads)
            for one in all_loads:
                one.end()
        assert [one.failed for one in all_loads] == [[]] * 2
        assert listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
