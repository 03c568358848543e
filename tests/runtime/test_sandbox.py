"""What a confined process can do, tried in processes of its own."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gomlx.runtime.sandbox import _version

_TRY = """
import os, socket, subprocess, sys
from pathlib import Path
from gomlx.runtime.sandbox import confine

inside, outside, port, may_connect = sys.argv[1:]
attempts = {
    "write inside": lambda: Path(inside, "new").write_text("x"),
    "remove inside": lambda: Path(inside, "old").unlink(),
    "read outside": lambda: Path(outside, "old").read_text(),
    "write to /dev/null": lambda: Path(os.devnull).write_text("x"),
    "write outside": lambda: Path(outside, "new").write_text("x"),
    "truncate outside": lambda: os.truncate(Path(outside, "old"), 0),
    "remove outside": lambda: Path(outside, "old").unlink(),
    "link outside": lambda: Path(outside, "link").symlink_to(inside),
    "move outside": lambda: Path(inside, "moved").rename(Path(outside, "moved")),
    "execute": lambda: subprocess.run(["/bin/true"]),
    "connect": lambda: socket.create_connection(("127.0.0.1", int(port))).close(),
}
assert confine([Path(inside), Path(outside, "none")], may_connect == "True")
for name, attempt in attempts.items():
    try:
        attempt()
    except OSError:
        continue
    print(name)
"""
_ALWAYS = ["write inside", "remove inside", "read outside", "write to /dev/null"]

pytestmark = pytest.mark.skipif(_version() < 4, reason="the kernel has no Landlock")


@pytest.mark.parametrize(
    ("may_connect", "more"), [(True, ["connect"]), (False, [])], ids=["worker", "stage"]
)
def test_a_confined_process_writes_to_its_folders_only(
    tmp_path: Path, may_connect: bool, more: list[str]
) -> None:
    for folder in ("inside", "outside"):
        (tmp_path / folder).mkdir()
        for file in ("old", "moved"):
            (tmp_path / folder / file).write_text("x")
    (tmp_path / "outside" / "moved").unlink()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        arguments = [tmp_path / "inside", tmp_path / "outside", port, may_connect]
        found = subprocess.run(
            [sys.executable, "-c", _TRY, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ,
        )
    assert found.stdout.splitlines() == [*_ALWAYS, *more]
