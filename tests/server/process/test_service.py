"""A worker heartbeats while it starts: TensorFlow is imported beside the event loop."""

import json
import subprocess
import sys
from pathlib import Path


def test_tensorflow_is_imported_in_a_thread_by_the_startup_alone(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-m", "tests.server.process.starting", str(tmp_path)]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["is_built_without_tensorflow"]
    assert found["has_tensorflow_when_started"]
    assert found["beats_during_the_import"] >= 5
