"""A stop that hangs: a process of its own shows that it ends, and what it says."""

import subprocess
import sys

_HANGS = """
import asyncio, sys, time
from gomlx.runtime.ending import end_within

async def hangs_for_ever():
    await asyncio.Event().wait()

async def main(blocks):
    asyncio.create_task(hangs_for_ever())
    end_within(0.3, lambda: print("before", flush=True))
    await asyncio.sleep(0)
    if blocks:
        time.sleep(60)
    await asyncio.sleep(60)

asyncio.run(main(sys.argv[1] == "blocks"))
"""


def ended(how: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", _HANGS, how]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_process_whose_tasks_hang_ends_and_says_which() -> None:
    found = ended("waits")
    assert found.returncode == 1
    assert found.stdout == "before\n"
    assert "over 0 s; it ends here" in found.stderr
    assert "hangs_for_ever" in found.stderr


def test_a_process_whose_event_loop_hangs_ends_and_says_where() -> None:
    found = ended("blocks")
    assert found.returncode == 1
    assert "in main" in found.stderr
