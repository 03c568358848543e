"""How long rows are tried for."""

from collections.abc import Callable
from pathlib import Path

import pytest

from gomlx.models.serving.servable import Description
from gomlx.models.version import ModelVersion, StageLimits
from tests.support import saved_models

Stage = Callable[..., ModelVersion]


@pytest.mark.parametrize(("seconds", "is_cut"), [(1e-9, True), (0.0, False)])
def test_a_slow_model_has_a_shorter_trial(
    tmp_path: Path,
    staged: Stage,
    caplog: pytest.LogCaptureFixture,
    seconds: float,
    is_cut: bool,
) -> None:
    source = saved_models.dense(tmp_path / "m")
    version = staged(source, limits=StageLimits(trial_seconds=seconds))
    assert ("model m is slow: 1 row was tried" in caplog.text) is is_cut
    assert Description.read(version.directory).joins_rows
