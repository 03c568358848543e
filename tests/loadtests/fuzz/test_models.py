"""Damaged models: how they are changed, staged and compared."""

import random
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest

from loadtests.fuzz.cases import Plan
from loadtests.fuzz.models.answers import agree
from loadtests.fuzz.models.children import Forks, damaged
from loadtests.fuzz.models.damage import damage
from loadtests.fuzz.models.fuzzer import opened
from tests.support import saved_models


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_seed_changes_the_same(tmp_path: Path) -> None:
    before = contents(saved_models.keras(tmp_path / "0"))
    different = set()
    for seed in range(20):
        found = []
        for again in "ab":
            folder = saved_models.keras(tmp_path / f"{seed}{again}")
            found.append((damage(folder, random.Random(seed)), contents(folder)))
        assert found[0] == found[1]
        if found[0][1] != before:
            different.add(found[0][0])
    assert len(different) > 10


def test_a_file_within_a_keras_file_is_changed(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    texts = set()
    for seed in range(30):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", '{"layers": []}' * 20)
        damage(tmp_path, random.Random(seed))
        if path.exists() and zipfile.is_zipfile(path):
            with (
                suppress(zipfile.BadZipFile, OSError),
                zipfile.ZipFile(path) as archive,
            ):
                texts |= {archive.read(name) for name in archive.namelist()}
    assert len(texts) > 5


def test_staging_ends_with_a_reason_or_as_tensorflow_answers(tmp_path: Path) -> None:
    with opened(tmp_path, "a table from an asset") as case:
        outcomes = Plan("", 0, seconds=60, count=12).run(case)
    assert outcomes["refused with a reason"]
    assert outcomes["staged, and answers as TensorFlow does"]


def test_a_function_that_fails_or_hangs_is_told(tmp_path: Path) -> None:
    forks = Forks(tmp_path / "printed", 30)
    ended = forks.run(damaged, tmp_path / "nowhere", "no seed of these types", 1)
    assert ended.was_raised
    assert "TypeError" in ended.error
    slow = Forks(tmp_path / "printed", 0.0)
    assert slow.run(damaged, tmp_path, 1).error == "took over 0 s"


@pytest.mark.parametrize(
    ("found", "expected", "is_equal"),
    [
        ({"y": 1.0}, {"y": 1.0000001}, True),
        ({"y": 1.0}, {"y": 1.01}, False),
        ({"y": 1.0}, {"z": 1.0}, False),
        ({"y": [[1.0]]}, {"y": 1.0}, True),
        ({"y": [1.0, 2.0]}, {"y": [1.0]}, False),
        ("failed: no", "failed: not", True),
        ("failed: no", {"y": 1.0}, False),
        ({"y": "failed: no"}, {"y": "failed: no"}, True),
    ],
)
def test_answers_are_compared(found: object, expected: object, is_equal: bool) -> None:
    assert agree(found, expected) is is_equal
