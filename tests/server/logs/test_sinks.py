"""Files that are rotated, moved, cut; standard output that several workers share."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from gomlx.server.logs.sinks import RotatingFile

LINE = b"x" * 9 + b"\n"


def test_full_files_are_kept_and_the_oldest_is_not(tmp_path: Path) -> None:
    path = tmp_path / "rows.0.jsonl"
    file = RotatingFile(path, 20, 2)
    for n in range(7):
        file.write(b"line %d...\n" % n)
    found = {one.name: one.read_bytes() for one in tmp_path.iterdir()}
    assert found == {
        "rows.0.jsonl": b"line 6...\n",
        "rows.0.jsonl.1": b"line 4...\nline 5...\n",
        "rows.0.jsonl.2": b"line 2...\nline 3...\n",
    }


def test_none_is_kept(tmp_path: Path) -> None:
    file = RotatingFile(tmp_path / "f", 20, 0)
    for _ in range(5):
        file.write(LINE)
    assert [one.name for one in tmp_path.iterdir()] == ["f"]


def test_only_its_user_reads_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        RotatingFile(tmp_path / "f", 100, 1).write(LINE)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o600


def test_a_file_that_others_move_is_made_anew(tmp_path: Path) -> None:
    file = RotatingFile(tmp_path / "f", 1000, 1)
    file.write(LINE)
    (tmp_path / "f").rename(tmp_path / "moved")
    file.write(LINE)
    (tmp_path / "f").unlink()
    file.write(LINE)
    assert (tmp_path / "moved").read_bytes() == LINE
    assert (tmp_path / "f").read_bytes() == LINE


def test_a_line_that_was_cut_does_not_spoil_the_next(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b'{"half')
    RotatingFile(tmp_path / "f", 1000, 1).write(LINE)
    assert (tmp_path / "f").read_bytes() == b'{"half\n' + LINE


def test_of_lines_that_do_not_fit_nothing_is_left(tmp_path: Path) -> None:
    """The limit of a file's size stands for a full disk: the kernel cuts a write."""
    code = """
import resource, signal, sys
from pathlib import Path
from gomlx.server.logs.sinks import RotatingFile
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (15, 15))
file = RotatingFile(Path(sys.argv[1]), 1000, 1)
file.write(b"x" * 9 + b"\\n")
try:
    file.write(b"y" * 9 + b"\\n")
except OSError as error:
    print(error.strerror)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "f")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "File too large\n"
    assert (tmp_path / "f").read_bytes() == LINE


@pytest.mark.timeout(30)
def test_a_fifo_is_no_file_to_rotate(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        file = RotatingFile(path, 20, 1)
        for _ in range(4):
            file.write(LINE)
        assert os.read(reading, 100) == LINE * 4
    finally:
        os.close(reading)
    assert stat.S_ISFIFO(path.stat().st_mode)


def test_lines_of_several_processes_do_not_mix(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from gomlx.server.logs.sinks import SharedOutput
output = SharedOutput(Path(sys.argv[1]))
for _ in range(50):
    output.write(sys.argv[2].encode() * 30_000 + b"\\n")
"""
    reading, writing = os.pipe()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "lock"), letter],
            stdout=writing,
        )
        for letter in "abc"
    ]
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        lines = file.read().splitlines()
    assert [one.wait(30) for one in processes] == [0, 0, 0]
    assert len(lines) == 150
    assert {(len(line), len(set(line))) for line in lines} == {(30_000, 1)}
