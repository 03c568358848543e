"""What the notifier reads from the environment, and says of a reload."""

import asyncio
import os
import socket
import time
from pathlib import Path

import pytest

from gomlx.errors import ConfigInvalid
from gomlx.supervisor.notify import Notifier


@pytest.fixture
def systemd(tmp_path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.settimeout(30)
    listener.bind(str(tmp_path / "notify"))
    return listener


def received(systemd: socket.socket) -> list[str]:
    return systemd.recv(4096).decode().splitlines()


def test_a_reload(tmp_path: Path, systemd: socket.socket) -> None:
    notifier = Notifier(str(tmp_path / "notify"))
    with systemd:
        assert notifier.ready()
        assert received(systemd)[0] == "READY=1"
        before = time.monotonic()
        assert notifier.telling(lambda: "read")() == "read"
        reloading, monotonic, _ = received(systemd)
        assert reloading == "RELOADING=1"
        # systemd compares it with its own clock: Type=notify-reload.
        microseconds = int(monotonic.removeprefix("MONOTONIC_USEC="))
        assert before - 1e-6 <= microseconds / 1e6 <= time.monotonic()
        assert received(systemd)[0] == "READY=1"


def test_a_reload_that_fails_has_an_end(tmp_path: Path, systemd: socket.socket) -> None:
    notifier = Notifier(str(tmp_path / "notify"))

    def fail() -> None:
        raise ConfigInvalid("config.yaml", ["wrong"])

    with systemd:
        with pytest.raises(ConfigInvalid):  # while the service starts: nothing to say
            notifier.telling(fail)()
        notifier.ready()
        with pytest.raises(ConfigInvalid):
            notifier.telling(fail)()
        said = [received(systemd)[0] for _ in range(3)]
        assert said == ["READY=1", "RELOADING=1", "READY=1"]


def test_the_environment_is_left_clean(tmp_path: Path, systemd: socket.socket) -> None:
    environment = {
        "NOTIFY_SOCKET": str(tmp_path / "notify"),
        "WATCHDOG_USEC": "30000000",
        "WATCHDOG_PID": str(os.getpid()),
        "HOME": "/",
    }
    notifier = Notifier.from_environment(environment)
    assert environment == {"HOME": "/"}
    with systemd:
        notifier.stopping()
        assert received(systemd)[0] == "STOPPING=1"


def followed(systemd: socket.socket, address: str, pid: int) -> list[str]:
    """Return what a service sends that starts and then stops, under a watchdog."""
    notifier = Notifier.from_environment(
        {
            "NOTIFY_SOCKET": address,
            "WATCHDOG_USEC": "60000000",
            "WATCHDOG_PID": str(pid),
        }
    )
    stopping = asyncio.Event()

    async def follow() -> list[str]:
        task = asyncio.create_task(notifier.follow(lambda: True, stopping.wait))
        lines: list[str] = []
        while "STOPPING=1" not in lines:
            lines += await asyncio.to_thread(received, systemd)
            if "READY=1" in lines:
                stopping.set()
        task.cancel()
        return lines

    return asyncio.run(follow())


def test_a_watchdog_of_another_process_is_none_of_ours(
    tmp_path: Path, systemd: socket.socket
) -> None:
    address = str(tmp_path / "notify")
    with systemd:
        assert "WATCHDOG=1" in followed(systemd, address, os.getpid())
        assert "WATCHDOG=1" not in followed(systemd, address, os.getppid())


def test_an_abstract_socket(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.settimeout(30)
        systemd.bind(f"\0{tmp_path}")
        assert Notifier(f"@{tmp_path}").ready()
        assert received(systemd)[0] == "READY=1"


def test_a_socket_that_is_gone_is_logged_once(
    tmp_path: Path, systemd: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    address = tmp_path / "notify"
    notifier = Notifier(str(address))
    address.rename(tmp_path / "elsewhere")
    assert not notifier.ready()
    assert not notifier.ready()
    assert [record.getMessage() for record in caplog.records] == [
        f"cannot notify systemd at {address}: [Errno 2] No such file or directory"
    ]
    (tmp_path / "elsewhere").rename(address)
    with systemd:
        assert notifier.ready()


@pytest.mark.asyncio
async def test_without_systemd_nobody_is_told() -> None:
    notifier = Notifier.from_environment({})
    notifier.ready()
    await notifier.follow(lambda: True, asyncio.Event().wait)
