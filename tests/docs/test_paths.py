"""The files that requests pass are those that docs/internals/request.md lists."""

import json
import subprocess
import sys

import pytest

from loadtests.paths import BEGIN, END, PAGE

_CODE = """
import json, sys
from loadtests.paths import listed, trace_all
traces = trace_all()
hit = traces["A hit"]
lists = {name: listed(name, trace) for name, trace in traces.items()}
json.dump([lists, len(hit.files), max(hit.crossings.values())], sys.stdout)
"""


@pytest.fixture(scope="module")
def traced() -> tuple[dict[str, list[str]], int, int]:
    done = subprocess.run(
        [sys.executable, "-c", _CODE], capture_output=True, text=True, check=True
    )
    lists, files, crossings = json.loads(done.stdout.splitlines()[-1])
    return lists, files, crossings


def test_a_hit_passes_ten_files(
    traced: tuple[dict[str, list[str]], int, int],
) -> None:
    _, files, crossings = traced
    assert files <= 10
    assert crossings <= 2


def test_the_page_lists_the_files(
    traced: tuple[dict[str, list[str]], int, int],
) -> None:
    """`python -m loadtests.paths --write` writes them."""
    section = PAGE.read_text().partition(BEGIN)[2].partition(END)[0]
    assert "\n".join(traced[0]["A hit"]) in section
    for title, *_ in traced[0].values():
        assert title.partition(" (")[0] in section
