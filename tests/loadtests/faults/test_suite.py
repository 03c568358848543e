"""The suite really does faults to real services, and reports what comes of them."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def suite(*options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "loadtests.faults", *options]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=290
    )


@pytest.mark.timeout(300)
def test_a_worker_is_killed() -> None:
    done = suite("--only", "a worker is killed", "--seconds", "0.5")
    assert "1 faults, of which 0 were not stood" in done.stdout, done.stdout
    (line,) = [one for one in done.stdout.splitlines() if one.startswith("a worker is")]
    requests = int(line.split()[4].replace(",", ""))
    assert requests > 100
    assert "0 wrong" in line
    assert done.returncode == 0


def test_faults_have_names_of_their_own() -> None:
    names = suite("--list").stdout.splitlines()
    assert len({*names}) == len(names) > 20
