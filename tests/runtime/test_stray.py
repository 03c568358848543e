"""What processes write to standard error past the log, in a process of its own."""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from gomlx.runtime.stray import StrayLine, StrayReader

_CHILD = """
import faulthandler, os, signal
faulthandler.enable()
os.write(2, b"half a ")
os.write(2, b"line\\nW0000 00:00:1.5  12 port.cc:1] absl warns\\n")
os.write(2, b"WARNING: All log messages before absl::InitializeLog() is called are\\n")
os.write(2, b"I0000 00:00:1.5  12 port.cc:153] oneDNN is on\\n")
os.kill(os.getpid(), signal.SIGSEGV)
"""
_PARENT = """
import logging, subprocess, sys
from gomlx.runtime.logs import log_to_stderr
from gomlx.runtime.stray import stray_output_logged
log_to_stderr("info", sys.argv[2])
with stray_output_logged():
    logging.getLogger("gomlx").info("ours")
    child = subprocess.Popen([sys.executable, "-c", sys.argv[1]])
    print(child.pid, child.wait())
sys.exit("after it")
"""


def parent(style: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", _PARENT, _CHILD, style],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_lines_of_libraries_are_in_the_text_log_if_they_matter() -> None:
    done = parent("text")
    pid, _ = done.stdout.split()
    ours, half, warns, fatal, *_ = done.stderr.splitlines()
    assert ours.endswith(" gomlx: ours")
    assert half.endswith(f" WARNING [{pid}] gomlx.stderr: half a line")
    assert warns.endswith(f" WARNING [{pid}] gomlx.stderr: port.cc:1] absl warns")
    assert f" CRITICAL [{pid}] gomlx.stderr: Fatal Python error" in fatal


def test_what_a_process_writes_is_logged_with_its_id_even_if_it_crashes() -> None:
    done = parent("json")
    pid, code = map(int, done.stdout.split())
    assert code == -signal.SIGSEGV
    *lines, last = done.stderr.splitlines()
    assert last == "after it"  # standard error is as it was
    records = [json.loads(line) for line in lines]
    of_child = {one["message"]: one for one in records if one["pid"] == pid}
    assert of_child["half a line"]["level"] == "warning"
    assert of_child["port.cc:1] absl warns"]["level"] == "warning"
    crash = of_child["Fatal Python error: Segmentation fault"]
    assert crash["level"] == "critical"
    assert any("most recent call first" in message for message in of_child)
    assert not any("absl::Init" in one or "oneDNN" in one for one in of_child)
    assert {one["logger"] for one in of_child.values()} == {"gomlx.stderr"}
    assert [one["message"] for one in records if one["pid"] != pid] == ["ours"]


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("E0000 00:00:1795907639.648290   30408 dso.cc:2] no", logging.ERROR),
        ("F0000 00:00:1795907639.648290   30408 dso.cc:2] no", logging.CRITICAL),
        ("2026-11-28 23:14:12.703001: W tensorflow/x.cc:2] no", logging.WARNING),
    ],
)
def test_libraries_say_how_bad_it_is(text: str, level: int) -> None:
    found = StrayLine.parse(text)
    assert found.level == level
    assert found.message.endswith(".cc:2] no")
    assert "00:" not in found.message


class Kept(logging.Handler):
    """Keeps records in a list."""

    def __init__(self, records: list[logging.LogRecord]) -> None:
        super().__init__()
        self._records = records

    def emit(self, record: logging.LogRecord) -> None:
        self._records.append(record)


@pytest.fixture
def logged() -> Iterator[list[logging.LogRecord]]:
    """The records of the lines."""
    records: list[logging.LogRecord] = []
    handler = Kept(records)
    log = logging.getLogger("gomlx.stderr")
    log.addHandler(handler)
    yield records
    log.removeHandler(handler)


def read(*parts: Any) -> None:
    """Have a reader read what one process has written."""
    sides = socket.socketpair()
    reader = StrayReader(sides[0])
    with sides[1] as written:
        for part in parts:
            written.sendall(part)
    reader.run()


def test_a_line_without_an_end_is_bounded(logged: list[logging.LogRecord]) -> None:
    read(b"x" * 100_000)
    assert len(logged) > 1
    assert sum(len(one.getMessage()) for one in logged) == 100_000
    assert {one.process for one in logged} == {os.getpid()}


def test_a_flood_is_cut(logged: list[logging.LogRecord]) -> None:
    read(b"".join(b"line %d\n" % n for n in range(5000)))
    assert 1000 <= len(logged) < 5000


def test_bytes_of_no_text(logged: list[logging.LogRecord]) -> None:
    read(b"\xff\x00 is\n\n")
    assert [one.getMessage() for one in logged] == ["\ufffd\x00 is"]
