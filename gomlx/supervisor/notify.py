"""What systemd learns of this service: sd_notify(3), without its library.

    STATUS… ─► READY ─► (RELOADING ─► READY …) ─► STOPPING
       └─ WATCHDOG, as long as the supervisor's event loop runs

Each message is one datagram to the socket that NOTIFY_SOCKET names: lines NAME=value.
Only the supervisor sends any (NotifyAccess=main), so its children have no part in it.
"""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import TypeVar

log = logging.getLogger(__name__)

_SEND_SECONDS = 1.0  # the longest that a full socket is waited for
_LOOK_SECONDS = 0.1
T = TypeVar("T")


class Notifier:
    """Tells a process manager where this service is between its start and its stop.

    address: a path, or @ and an abstract name; empty: there is no systemd.
    watchdog_seconds: a service that says nothing for longer is killed; 0: none is.
    """

    def __init__(self, address: str = "", watchdog_seconds: float = 0.0) -> None:
        self._address = address
        self._watchdog_seconds = watchdog_seconds
        self._is_ready = False
        self._is_failing = False

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str]) -> "Notifier":
        """Return the notifier that systemd's variables ask for, and remove them."""
        address = environment.pop("NOTIFY_SOCKET", "")
        microseconds = environment.pop("WATCHDOG_USEC", "")
        pid = environment.pop("WATCHDOG_PID", "")
        is_watched = microseconds.isdecimal() and pid in ("", str(os.getpid()))
        return cls(address, int(microseconds) / 1e6 if is_watched else 0.0)

    def ready(self) -> bool:
        """Say that the service serves. Return whether that was heard."""
        self._is_ready = self._send("READY=1\nSTATUS=serving")
        return self._is_ready

    def telling(self, reload: Callable[[], T]) -> Callable[[], T]:
        """Return what says RELOADING, does a reload, and says READY, come what may."""

        def run() -> T:
            if not self._is_ready:  # READY would end the start
                return reload()
            now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            status = "STATUS=reading the config"
            self._send(f"RELOADING=1\nMONOTONIC_USEC={now}\n{status}")
            try:
                return reload()
            finally:
                self.ready()

        return run

    def stopping(self) -> None:
        """Say that the service stops."""
        self._send("STOPPING=1\nSTATUS=answering what is under way")

    async def follow(
        self, has_started: Callable[[], bool], stopping: Callable[[], Awaitable[object]]
    ) -> None:
        """Tell of the start and the stop when they come; until cancelled."""
        if not self._address:
            return
        self._send("STATUS=staging and loading the models")
        async with asyncio.TaskGroup() as tasks:
            if self._watchdog_seconds:
                tasks.create_task(self._keep_watchdog_quiet())
            telling = tasks.create_task(self._tell_of_start(has_started))
            await stopping()
            telling.cancel()
            self.stopping()

    async def _tell_of_start(self, has_started: Callable[[], bool]) -> None:
        while not (has_started() and self.ready()):  # noqa: ASYNC110  # no event tells
            await asyncio.sleep(_LOOK_SECONDS)

    async def _keep_watchdog_quiet(self) -> None:
        while True:
            self._send("WATCHDOG=1")
            await asyncio.sleep(self._watchdog_seconds / 3)

    def _send(self, message: str) -> bool:
        if not self._address:
            return True
        address = self._address
        if address.startswith("@"):
            address = f"\0{address[1:]}"
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.settimeout(_SEND_SECONDS)
                sender.sendto(message.encode(), address)
        except OSError as error:
            if not self._is_failing:  # logged once, until it succeeds
                log.error("cannot notify systemd at %s: %s", self._address, error)
            self._is_failing = True
            return False
        self._is_failing = False
        return True


async def beside(running: Awaitable[None], notifying: Awaitable[None]) -> None:
    """Run a service, and beside it what tells of it."""
    task = asyncio.ensure_future(notifying)
    try:
        await running
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
