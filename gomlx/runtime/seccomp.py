"""Forbids system calls that running a model needs none of: the kernel's seccomp.

Landlock (sandbox.py) forbids writing, executing and connecting over TCP. What is
forbidden here reaches other processes or more of the kernel: sockets of any kind, new
processes, signals to others, tracing, mounts, loading code into the kernel. A forbidden
call fails with EPERM; nothing is killed.

The structures are those of <linux/filter.h> and <linux/seccomp.h>, the numbers those of
<asm/unistd.h>.
"""

import ctypes
import errno
import os
import struct
import sys
from collections.abc import Iterator

# name: the number of the call on x86-64 and on arm64; 0: there is none.
_FORBIDDEN = """
add_key 248 217
bpf 321 280
chroot 161 51
delete_module 176 106
execve 59 221
execveat 322 281
finit_module 313 273
fork 57 0
fsconfig 431 431
fsmount 432 432
fsopen 430 430
init_module 175 105
io_uring_setup 425 425
kexec_file_load 320 294
kexec_load 246 104
keyctl 250 219
mount 165 40
move_mount 429 429
open_by_handle_at 304 265
open_tree 428 428
perf_event_open 298 241
pidfd_getfd 438 438
pidfd_send_signal 424 424
pivot_root 155 41
process_madvise 440 440
process_vm_readv 310 270
process_vm_writev 311 271
ptrace 101 117
reboot 169 142
request_key 249 218
setns 308 268
socket 41 198
socketpair 53 199
tkill 200 130
umount2 166 39
unshare 272 97
userfaultfd 323 282
vfork 58 0
"""
# These take a process first, which must be the caller's own.
_OWN_PROCESS = """
kill 62 129
rt_sigqueueinfo 129 138
rt_tgsigqueueinfo 297 240
tgkill 234 131
"""
_CLONE = 56, 220  # only for threads
_CLONE3 = 435, 435  # its flags cannot be seen; the C library then takes clone
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_OTHER_TABLE = 0x40000000  # numbers of x86-64 from here on: the calls of x32

_LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_JUMP_EQUAL = 0x15
_JUMP_GREATER_EQUAL = 0x35
_JUMP_SET = 0x45
_RETURN = 0x06
_NUMBER = 0  # offsets in struct seccomp_data
_ARCHITECTURE = 4
_FIRST_ARGUMENT = 16  # its lower half
_ALLOW = 0x7FFF0000
_ERROR = 0x00050000
_CLONE_THREAD = 0x00010000
_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP = 22
_MODE_FILTER = 2


class _Program(ctypes.Structure):
    """struct sock_fprog"""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def forbid_calls() -> bool:
    """Forbid these calls to this thread, and to those that it starts, for good.

    Returns whether the kernel does it.
    """
    machine = os.uname().machine
    if sys.platform != "linux" or machine not in _ARCHITECTURES:
        return False
    column, architecture = _ARCHITECTURES[machine]
    code = b"".join(_instructions(column, architecture))
    program = _Program(len(code) // 8, code)
    prctl = ctypes.CDLL(None).prctl
    prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    done = prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program), 0, 0)
    return int(done) == 0


def _instructions(column: int, architecture: int) -> Iterator[bytes]:
    """Yield the filter; each check is complete in itself, so jumps are short."""
    refused = _step(_RETURN, _ERROR | errno.EPERM)
    allowed = _step(_RETURN, _ALLOW)
    yield _step(_LOAD, _ARCHITECTURE)
    yield _step(_JUMP_EQUAL, architecture, 1, 0)
    yield refused
    yield _step(_LOAD, _NUMBER)
    yield _step(_JUMP_GREATER_EQUAL, _OTHER_TABLE, 0, 1)
    yield refused
    for number in _numbers(_FORBIDDEN, column):
        yield _step(_JUMP_EQUAL, number, 0, 1)
        yield refused
    yield _step(_JUMP_EQUAL, _CLONE3[column], 0, 1)
    yield _step(_RETURN, _ERROR | errno.ENOSYS)
    yield _step(_JUMP_EQUAL, _CLONE[column], 0, 4)
    yield _step(_LOAD, _FIRST_ARGUMENT)
    yield _step(_JUMP_SET, _CLONE_THREAD, 0, 1)
    yield allowed
    yield refused
    for number in _numbers(_OWN_PROCESS, column):
        yield _step(_JUMP_EQUAL, number, 0, 4)
        yield _step(_LOAD, _FIRST_ARGUMENT)
        yield _step(_JUMP_EQUAL, os.getpid(), 0, 1)
        yield allowed
        yield refused
    yield allowed


def _numbers(table: str, column: int) -> Iterator[int]:
    for line in table.split("\n"):
        if line:
            number = int(line.split()[1 + column])
            if number:
                yield number


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """Return one instruction: struct sock_filter."""
    return struct.pack("=HBBI", code, if_true, if_false, value)
