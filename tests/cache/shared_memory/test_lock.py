"""The right to write, among processes."""

import subprocess
import sys
from pathlib import Path

from gomlx.cache.shared_memory.lock import WriterLock

HOLD = """
import sys, time
from pathlib import Path
from gomlx.cache.shared_memory.lock import WriterLock
lock = WriterLock(Path(sys.argv[1]))
lock.acquire()
print(flush=True)
time.sleep(600)
"""


def test_one_at_a_time_may_write(tmp_path: Path) -> None:
    mine = WriterLock(tmp_path)
    other = WriterLock(tmp_path)
    mine.acquire()
    assert not other.try_acquire()
    mine.release()
    assert other.try_acquire()
    assert not mine.try_acquire()
    other.close()
    assert mine.try_acquire()
    mine.close()


def test_the_lock_of_a_killed_process_is_released(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        holder.stdout.readline()
        lock = WriterLock(tmp_path)
        assert not lock.try_acquire()
        holder.kill()
        lock.acquire()
    lock.close()
