"""Which files of a staged version are gone."""

from pathlib import Path

import pytest

from gomlx.models.files import damage, keep_intact, list_files


@pytest.fixture
def version(tmp_path: Path) -> Path:
    directory = tmp_path / "version"
    (directory / "weights").mkdir(parents=True)
    (directory / "weights" / "0").write_bytes(b"1234")
    (directory / "servable.json").write_text("{}")
    list_files(directory)
    return directory


def test_a_complete_version_is_intact(version: Path) -> None:
    assert damage(version) == ""
    assert keep_intact(version)


def test_files_that_come_later_do_not_matter(version: Path) -> None:
    (version / "signatures").mkdir()
    (version / "signatures.json").write_text("{}")
    assert keep_intact(version)


@pytest.mark.parametrize("name", ["weights/0", "servable.json", "files.json"])
def test_a_file_that_is_gone_is_named(version: Path, name: str) -> None:
    (version / name).unlink()
    assert damage(version) == f"{version / name} is gone"
    assert not keep_intact(version)
    assert not version.exists()


def test_a_file_that_has_shrunk_is_named(version: Path) -> None:
    (version / "weights" / "0").write_bytes(b"1")
    assert "weights/0 has 1 bytes instead of 4" in damage(version)


def test_what_was_never_there_is_not_intact(version: Path) -> None:
    assert not keep_intact(version.parent / "other")
