"""The event loop answers while TensorFlow is imported."""

import subprocess
import sys

# Another thread counts while the libraries are opened: it needs the interpreter. Their
# files are in memory by then or not, so the count is some, and not a time.
OPENING = """
import sys, threading, time
from gomlx.server.process.importing import open_libraries

counted = 0

def count():
    global counted
    while True:
        counted += 1
        time.sleep(0.001)

threading.Thread(target=count, daemon=True).start()
before = counted
open_libraries()
print(counted - before > 3)
print("tensorflow" in sys.modules, "libtensorflow_cc" in open("/proc/self/maps").read())
"""
IMPORTING = """
import asyncio, gc
from gomlx.server.process.importing import import_tensorflow

seen = []
gc.callbacks.append(lambda phase, info: seen.append(info["generation"]))
asyncio.run(import_tensorflow())
import tensorflow
print(seen, gc.isenabled(), gc.get_freeze_count() > 100_000)
"""


def printed_by(program: str) -> list[str]:
    command = [sys.executable, "-c", program]
    return subprocess.check_output(command, text=True, timeout=100).splitlines()


def test_libraries_are_opened_without_the_interpreter() -> None:
    assert printed_by(OPENING) == ["True", "False True"]


def test_no_garbage_is_collected_meanwhile_or_looked_at_later() -> None:
    assert printed_by(IMPORTING)[-1] == "[] True True"
