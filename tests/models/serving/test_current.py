"""Pins hold a version; the last one to leave drains it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from gomlx.errors import ModelNotFound, NotReady
from gomlx.models.serving.current import Current, LiveVersion
from gomlx.models.serving.servable import Servable
from gomlx.models.version import ModelVersion
from tests.models.serving.test_batcher import batcher_of
from tests.support import saved_models

Stage = Callable[..., ModelVersion]


def live(staged: Stage, folder: Path, factor: float) -> LiveVersion:
    servable = Servable(staged(saved_models.scale(folder / f"{factor}", factor)))
    return LiveVersion(servable, batcher_of(servable.run))


def test_a_pinned_version_outlives_its_replacement(
    tmp_path: Path, staged: Stage
) -> None:
    current, drained = Current(["m"]), list[LiveVersion]()
    old, new = (live(staged, tmp_path, factor) for factor in (1.0, 2.0))
    current.swap("m", old, drained.append)
    for _ in range(2):
        current.pin(current.now("m"))
    current.swap("m", new, drained.append)
    assert current.now("m") is new
    current.unpin(old)
    assert not drained
    current.unpin(old)
    assert drained == [old]


def test_nobody_holds_it_then_it_is_drained_at_once(
    tmp_path: Path, staged: Stage
) -> None:
    current, drained = Current(["m"]), list[LiveVersion]()
    old, new = (live(staged, tmp_path, factor) for factor in (1.0, 2.0))
    current.swap("m", old, drained.append)
    current.pin(old)
    current.unpin(old)
    current.swap("m", new, drained.append)
    assert drained == [old]


def test_what_is_not_there() -> None:
    current = Current(["m"])
    with pytest.raises(ModelNotFound, match="there are: m"):
        current.now("n")
    with pytest.raises(NotReady, match="being loaded"):
        current.now("m")
    current.reasons["m"] = "it is broken"
    with pytest.raises(NotReady, match="it is broken"):
        current.now("m")
