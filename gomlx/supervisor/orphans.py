"""Processes of services whose supervisor was killed: they end, but not at once.

The kernel stops the Gunicorn of a killed supervisor
(`runtime.process.die_with_parent`). Until the workers have answered what is under way,
they hold the sockets, and a start on the same port would fail.
"""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from gomlx.errors import GomlxError

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.1
_PROCESSES = Path("/proc")
_MODULE = b"gomlx.server.process.gunicorn"
_PARENT = b"--parent"
Bound = TypeVar("Bound")


def when_free(bind: Callable[[], Bound], seconds: float) -> Bound:
    """Return what bind returns; while it fails and there are orphans, try again.

    seconds: for how long at most. Raises GomlxError as bind does.
    """
    ends = time.monotonic() + seconds
    is_logged = False
    while True:
        try:
            return bind()
        except GomlxError as error:
            found = orphans()
            if not found or time.monotonic() > ends:
                raise
            if not is_logged:
                is_logged = True
                log.warning(
                    "%s. A supervisor was killed, and its processes (%s) still end: "
                    "they are waited for, for up to %g s",
                    error,
                    ", ".join(map(str, found)),
                    seconds,
                )
        time.sleep(_LOOK_SECONDS)


def orphans() -> list[int]:
    """Return the processes of Gunicorn whose supervisor is gone, in any service."""
    found = []
    for folder in _PROCESSES.glob("[0-9]*"):
        words = _command(folder)
        if _MODULE in words and _PARENT in words:
            parent = words[words.index(_PARENT) + 1].decode()
            if not any(_command(_PROCESSES / parent)):
                found.append(int(folder.name))
    return sorted(found)


def _command(process: Path) -> list[bytes]:
    """Return the words of a process' command line; none if it has ended."""
    with suppress(OSError):
        return (process / "cmdline").read_bytes().split(b"\0")
    return []
