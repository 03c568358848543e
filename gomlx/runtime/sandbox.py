"""Confines a process to some folders: the kernel's Landlock, where there is one.

A model is a program (models/trust.py): what its operations, or a fault of TensorFlow's,
could write to and execute is less than what the service's user could. Landlock is of
Linux 5.13; forbidding connections came with 6.7. The rights and structures are those of
<linux/landlock.h>.
"""

import ctypes
import os
import struct
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_CREATE_RULESET = 444
_ADD_RULE = 445
_RESTRICT_SELF = 446
_NUMBERS = {"x86_64", "aarch64"}  # where system calls have these numbers
_VERSION_FLAG = 1
_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38

_EXECUTE = 1 << 0
_WRITE_FILE = 1 << 1
_REMOVE_AND_MAKE = 0b1_1111_1111 << 4  # REMOVE_DIR to MAKE_SYM
_REFER = 1 << 13  # of version 2
_TRUNCATE = 1 << 14  # of version 3
_BIND_AND_CONNECT = 0b11  # TCP's; of version 4


def confine(folders: Iterable[Path], may_connect: bool) -> bool:
    """Let this thread, and those that it starts, write to these folders only.

    It can execute nothing, and unless may_connect neither bind nor connect over TCP.
    Files that are open stay as they are. Not to be undone. Returns whether the kernel
    does it; nothing is confined otherwise.
    """
    version = _version()
    if version < 1:
        return False
    writing = _WRITE_FILE | _REMOVE_AND_MAKE
    writing |= _REFER if version >= 2 else 0
    writing |= _TRUNCATE if version >= 3 else 0
    network = 0 if may_connect or version < 4 else _BIND_AND_CONNECT
    attributes = struct.pack("=QQ", writing | _EXECUTE, network)
    size = 16 if version >= 4 else 8
    ruleset = _call(_CREATE_RULESET, attributes, size, 0)
    if ruleset < 0:
        return False
    try:
        for folder in folders:
            _allow(ruleset, folder, writing)
        _allow(ruleset, Path(os.devnull), _WRITE_FILE)
        ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        return _call(_RESTRICT_SELF, ruleset, 0) == 0
    finally:
        os.close(ruleset)


def _version() -> int:
    """Return the version of Landlock; less than 1: there is none."""
    if sys.platform != "linux" or os.uname().machine not in _NUMBERS:
        return -1
    return _call(_CREATE_RULESET, None, 0, _VERSION_FLAG)


def _allow(ruleset: int, path: Path, rights: int) -> None:
    """Allow rights below a path; one that does not exist needs none."""
    with suppress(FileNotFoundError):
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            rule = struct.pack("=Qi", rights, opened)
            _call(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0)
        finally:
            os.close(opened)


def _call(number: int, *arguments: int | bytes | None) -> int:
    return int(ctypes.CDLL(None).syscall(number, *arguments))
