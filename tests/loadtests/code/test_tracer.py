"""A tracer reports the files that calls enter, and the crossings."""

import subprocess
import sys
from pathlib import Path

# In a process of its own: there is one profiler in a thread.
_CODE = """
import sys
from pathlib import Path
from loadtests.code.tracer import Tracer
sys.path.insert(0, sys.argv[1])
import first
tracer = Tracer(Path(sys.argv[1]), ignored=("ignored",))
first.call()
with tracer.tracing() as trace:
    first.call()
print(trace.files, dict(trace.crossings))
"""
_FILES = {
    "first.py": "import second, ignored\ndef call(): second.call(); ignored.call()\n",
    "second.py": "import first\ndef call(): call_again()\ndef call_again(): pass\n",
    "ignored.py": "def call(): pass\n",
}


def test_a_trace_has_files_and_crossings(tmp_path: Path) -> None:
    for name, text in _FILES.items():
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", _CODE, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    expected = "['first.py', 'second.py'] {('first.py', 'second.py'): 1}\n"
    assert done.stdout == expected
