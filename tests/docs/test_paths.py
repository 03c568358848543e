"""The files that requests pass are those that docs/internals/request.md lists."""

import json
import subprocess
import sys

import pytest

from loadtests.paths import BEGIN, END, HIT, PAGE

_CODE = """
import json, sys
from loadtests.paths import HIT, markdown, trace_all
traces = trace_all()
hit = traces[HIT]
json.dump([markdown(traces), len(hit.files), max(hit.crossings.values())], sys.stdout)
"""


@pytest.fixture(scope="module")
def traced() -> tuple[list[str], int, int]:
    done = subprocess.run(
        [sys.executable, "-c", _CODE], capture_output=True, text=True, check=True
    )
    lines, files, crossings = json.loads(done.stdout.splitlines()[-1])
    return lines, files, crossings


def test_a_hit_passes_ten_files(traced: tuple[list[str], int, int]) -> None:
    _, files, crossings = traced
    assert files <= 10
    assert crossings <= 2


def test_the_page_lists_the_files(traced: tuple[list[str], int, int]) -> None:
    """`python -m loadtests.paths --write` writes them."""
    section = PAGE.read_text().partition(BEGIN)[2].partition(END)[0]
    lines = traced[0]
    (hit,) = (n for n, line in enumerate(lines) if f"**{HIT}**" in line)
    assert "\n".join(lines[hit : hit + traced[1] + 2]) in section
    for line in lines:  # how tasks of the others interleave depends on the machine
        title = line.partition("**: ")[0]
        assert (title.partition(". ")[2] or title) in section
