"""The output that several runs may write."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gomlx.cli.files.resume import OutputConflict, ResumableOutput
from gomlx.cli.files.tables import START, Position
from gomlx.errors import GomlxError

SETTINGS = {"model": "m", "values": {"x": 1.5}}
FIRST = Position(2, 20, "ab")
SECOND = Position(4, 40, "cd")


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "out.csv"


def opened(
    path: Path, replaces: bool = False, settings: dict[str, Any] = SETTINGS
) -> ResumableOutput:
    return ResumableOutput(path, settings, replaces)


def interrupted(path: Path) -> None:
    """A run that has saved one chunk, and was killed while it wrote another."""
    output = opened(path)
    output.add(b"one\n", FIRST)
    output.progress.versions.append("v")
    output.save()
    output.add(b"tw", SECOND)
    output.close()


def test_a_run_continues_at_the_saved_position(path: Path) -> None:
    interrupted(path)
    output = opened(path)
    assert output.progress.position == FIRST
    assert output.progress.versions == ["v"]
    output.add(b"two\n", SECOND)
    output.finish(os.replace)
    output.close()
    assert path.read_bytes() == b"one\ntwo\n"
    assert list(path.parent.iterdir()) == [path]


def test_a_run_may_start_over(path: Path) -> None:
    interrupted(path)
    path.write_text("an output of another run")
    output = opened(path, replaces=True)
    assert output.progress.position == START
    output.finish(os.replace)
    output.close()
    assert path.read_bytes() == b""


def test_an_output_is_not_replaced(path: Path) -> None:
    path.write_text("mine")
    with pytest.raises(OutputConflict, match="--force replaces it"):
        opened(path)
    assert path.read_text() == "mine"


def test_an_output_beside_its_position_is_complete(path: Path) -> None:
    interrupted(path)
    path.write_text("all")
    output = opened(path)
    assert output.is_complete
    output.close()
    assert list(path.parent.iterdir()) == [path]


def test_a_run_with_other_settings_does_not_continue(path: Path) -> None:
    interrupted(path)
    with pytest.raises(OutputConflict, match="was begun with model 'm', not 'n'"):
        opened(path, settings=SETTINGS | {"model": "n"})
    opened(path).close()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"position": {"rows": 1, "x": 2}}'])
def test_a_damaged_position_is_found(path: Path, text: str) -> None:
    interrupted(path)
    path.with_name("out.csv.position").write_text(text)
    with pytest.raises(OutputConflict, match="damaged"):
        opened(path)


def test_a_part_that_is_too_short_is_found(path: Path) -> None:
    interrupted(path)
    os.truncate(path.with_name("out.csv.part"), 1)
    with pytest.raises(OutputConflict, match="damaged"):
        opened(path)


def test_a_part_without_a_position_is_not_overwritten(path: Path) -> None:
    part = path.with_name("out.csv.part")
    part.write_text("mine")
    with pytest.raises(OutputConflict, match="in the way"):
        opened(path)
    assert part.read_text() == "mine"


def test_one_run_writes_at_a_time(path: Path) -> None:
    output = opened(path)
    with pytest.raises(GomlxError, match="another run"):
        opened(path)
    output.close()
    opened(path).close()
