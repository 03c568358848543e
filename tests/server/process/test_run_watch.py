"""How often workers are replaced for runs that do not end."""

import os
from pathlib import Path

from gomlx.server.process.run_watch import claim


def test_one_claim_in_a_time(tmp_path: Path) -> None:
    path = tmp_path / "replaced"
    assert claim(path, 60)
    assert not claim(path, 60)
    assert not claim(path, 60)


def test_a_later_claim(tmp_path: Path) -> None:
    path = tmp_path / "replaced"
    assert claim(path, 60)
    before = path.stat().st_mtime
    os.utime(path, (before - 61, before - 61))
    assert claim(path, 60)
    assert not claim(path, 60)


def test_a_clock_that_was_set_back_does_not_forbid_it(tmp_path: Path) -> None:
    path = tmp_path / "replaced"
    assert claim(path, 60)
    before = path.stat().st_mtime
    os.utime(path, (before + 1e6, before + 1e6))
    assert claim(path, 60)
