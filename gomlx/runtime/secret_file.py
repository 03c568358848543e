"""Files of keys or tokens that no other user may read, one a line."""

import os
import stat

_MAX_BYTES = 1 << 16

Stamp = tuple[int, ...]


def secret_lines(path: str) -> dict[int, str]:
    """Return what a file holds, by line number, without comments (`# …`).

    Raises OSError, and ValueError with the reason if others may read or replace it.
    """
    with open(path, "rb", opener=_open) as file:
        if problem := _permission_problem(os.fstat(file.fileno())):
            raise ValueError(problem)
        lines = file.read(_MAX_BYTES).decode().splitlines()
    found = {n: line.strip() for n, line in enumerate(lines, 1)}
    return {n: text for n, text in found.items() if text and not text.startswith("#")}


def stamp(path: str) -> Stamp:
    """Return what differs when a file was replaced or rewritten; empty: no file."""
    try:
        status = os.stat(path)
    except OSError:
        return ()
    return status.st_mtime_ns, status.st_ino, status.st_size, status.st_mode


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe would wait for a writer


def _permission_problem(status: os.stat_result) -> str:
    """Return why others know the secrets, or can replace them; empty if they cannot."""
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISREG(status.st_mode):
        return "expected a file"
    if status.st_uid not in (0, os.geteuid()):
        return "it must belong to the service's user or to root"
    if mode & 0o027:
        return f"its mode is {mode:04o}: expected 0600, or 0640 for a group of its own"
    return ""
