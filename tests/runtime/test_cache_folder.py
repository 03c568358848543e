"""Where run directories are that no config names: not where cleaners clean."""

import logging
import os
import tempfile
from pathlib import Path

import pytest

from gomlx.runtime.cache_folder import run_dirs_folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home, apart from the temporary directory."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_it_is_in_the_cache_of_the_home(home: Path) -> None:
    folder = run_dirs_folder()
    assert folder == home / ".cache" / "gomlx"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert run_dirs_folder() == folder


def test_another_cache_may_be_named(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert run_dirs_folder() == tmp_path / "cache" / "gomlx"


@pytest.mark.parametrize("name", ["", "here"])
def test_a_cache_without_an_absolute_path_is_none(
    home: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", name)
    assert run_dirs_folder() == home / ".cache" / "gomlx"


def test_without_a_home_the_temporary_directory_is_used(
    tmp_path: Path,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("HOME", os.devnull)
    caplog.set_level(logging.WARNING)
    assert run_dirs_folder() == tmp_path / "tmp"
    (record,) = caplog.records
    assert "where cleaners may delete them; set run_dir" in record.getMessage()
    assert "Not a directory" in record.getMessage()


def test_a_folder_that_others_can_write_is_not_used(
    tmp_path: Path, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (home / ".cache" / "gomlx").mkdir(parents=True)
    (home / ".cache" / "gomlx").chmod(0o777)
    assert run_dirs_folder() == tmp_path / "tmp"
    assert "or others can write" in caplog.text
