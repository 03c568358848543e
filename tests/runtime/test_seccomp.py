"""What a process can do whose system calls are limited, tried in one of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

_TRY = """
import ctypes, os, signal, socket, subprocess, sys, threading
from gomlx.runtime.seccomp import forbid_calls

def fork():
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)

def trace():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(0, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "ptrace")

def thread():
    found = []
    one = threading.Thread(target=found.append, args=(1,))
    one.start()
    one.join()
    assert found

attempts = {
    "read a file": lambda: open("/proc/self/status").read(),
    "write to /dev/null": lambda: open(os.devnull, "w").write("x"),
    "start a thread": thread,
    "signal itself": lambda: os.kill(os.getpid(), signal.SIGCONT),
    "raise": lambda: signal.raise_signal(signal.SIGCONT),
    "signal its parent": lambda: os.kill(os.getppid(), signal.SIGCONT),
    "signal all": lambda: os.kill(-1, 0),
    "fork": fork,
    "execute": lambda: subprocess.run(["/bin/true"]),
    "make an internet socket": lambda: socket.socket().close(),
    "make a local socket": lambda: socket.socket(socket.AF_UNIX).close(),
    "make a pair": lambda: socket.socketpair(),
    "trace": trace,
}
if sys.argv[1] == "limited":
    assert forbid_calls()
for name, attempt in attempts.items():
    try:
        attempt()
    except OSError as error:
        assert error.errno == 1, error
        continue
    print(name)
"""
_HARMLESS = [
    "read a file",
    "write to /dev/null",
    "start a thread",
    "signal itself",
    "raise",
]


def tried(how: str, *names: str) -> list[str]:
    code = _TRY
    for name in names:
        code = code.replace(f'    "{name}"', f'    # "{name}"')
    done = subprocess.run(
        [sys.executable, "-c", code, how], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.skipif(
    not Path("/proc/sys/kernel/seccomp").is_dir(), reason="the kernel has no seccomp"
)
def test_a_limited_process_reaches_no_other() -> None:
    assert tried("limited") == _HARMLESS


def test_any_other_process_does() -> None:
    dangerous = "signal all"
    found = tried("free", dangerous)
    assert found[: len(_HARMLESS)] == _HARMLESS
    assert {"fork", "execute", "make a pair", "signal its parent"} <= set(found)
