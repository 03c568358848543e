"""File systems that only this program sees: small enough to fill, gone with it."""

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gomlx.runtime.rundir import SHARED_MEMORY

_CLONE_NEWNS = 0x00020000  # of unshare(2): Python has it from 3.12 on


def isolate(megabytes: int) -> str:
    """Give this process shared memory of its own; return why it cannot, or "".

    Has to be called while the process has one thread. Its children share the memory.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS):
        return f"mount namespaces: {os.strerror(ctypes.get_errno())}"
    _run("mount", "--make-rprivate", "/")
    _mount(SHARED_MEMORY, megabytes)
    return ""


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    """Create a folder: a file system of a size if this process may mount one."""
    folder.mkdir()
    try:
        _mount(folder, megabytes)
    except (OSError, subprocess.CalledProcessError):
        yield
        return
    try:
        yield
    finally:
        _run("umount", "--lazy", str(folder))


def _mount(where: Path, megabytes: int) -> None:
    options = f"size={megabytes}m,mode=1777"
    _run("mount", "-t", "tmpfs", "-o", options, "none", str(where))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


@contextmanager
def filled(folder: Path) -> Iterator[None]:
    """Leave no byte of a file system free."""
    path = folder / "others"
    try:
        with path.open("wb", buffering=0) as file:
            for size in (1 << 20, 1 << 12, 1):
                _write_all(file.fileno(), bytes(size))
        yield
    finally:
        path.unlink(missing_ok=True)


def _write_all(descriptor: int, part: bytes) -> None:
    try:
        while os.write(descriptor, part) == len(part):
            pass
    except OSError:
        return  # no space
