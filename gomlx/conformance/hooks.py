"""What the suite does besides HTTP: run a command, change what a Redis holds."""

import subprocess
import time
from collections.abc import Sequence
from typing import Any

from gomlx.errors import GomlxError

_COMMAND_SECONDS = 300
_WRITTEN_SECONDS = 5.0


class HookFailed(GomlxError):
    """A command that was given as an option failed, or took too long."""


def run_command(command: str) -> None:
    """Run a command of the shell. Raises HookFailed."""
    try:
        # Its output is not read: what it starts in the background keeps it open.
        done = subprocess.run(
            command,
            shell=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_COMMAND_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise HookFailed(
            f"{command}: still running after {_COMMAND_SECONDS} s"
        ) from None
    if done.returncode:
        raise HookFailed(f"{command}: exit code {done.returncode}")


class RedisContents:
    """A Redis that servers share their answers in. Raises HookFailed."""

    def __init__(self, url: str) -> None:
        try:
            import redis
        except ModuleNotFoundError:
            raise HookFailed("--redis-url needs: pip install 'gomlx[redis]'") from None
        self._redis: Any = redis.Redis.from_url(url)

    def keys(self) -> list[bytes]:
        """Return the names of all that it holds."""
        return sorted(self._redis.scan_iter(count=1000))

    def new_keys(self, before: set[bytes], expected: int) -> list[bytes]:
        """Wait for so many new names, but not for ever; return those there are."""
        deadline = time.monotonic() + _WRITTEN_SECONDS
        while True:
            names = [name for name in self.keys() if name not in before]
            if len(names) >= expected or time.monotonic() > deadline:
                return names
            time.sleep(0.1)

    def swap(self, names: Sequence[bytes]) -> None:
        """Give each value to the next name: all are well-formed, and none is true."""
        spare = b"gomlx-conformance-spare"
        self._redis.rename(names[0], spare)
        for place in range(1, len(names)):
            self._redis.rename(names[place], names[place - 1])
        self._redis.rename(spare, names[-1])

    def damage(self, names: Sequence[bytes]) -> None:
        """Change a byte in the middle of each value that is a string."""
        for name in names:
            if self._redis.type(name) == b"string":
                middle = self._redis.strlen(name) // 2
                (byte,) = self._redis.getrange(name, middle, middle)
                self._redis.setrange(name, middle, bytes([byte ^ 1]))
