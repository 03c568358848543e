"""Pins hold a version; the last one to be released drains it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from gomlx.errors import ModelNotFound, NotReady
from gomlx.models.serving.current import RESPONSE, Current, LiveVersion
from gomlx.models.serving.servable import Servable
from gomlx.models.version import ModelVersion
from tests.models.batching.test_batcher import batcher_of
from tests.support import saved_models

Stage = Callable[..., ModelVersion]


def live(staged: Stage, folder: Path, factor: float) -> LiveVersion:
    servable = Servable(staged(saved_models.scale(folder / f"{factor}", factor)))
    return LiveVersion(servable, batcher_of(servable.run))


def test_a_pinned_version_outlives_its_replacement(
    tmp_path: Path, staged: Stage
) -> None:
    current = Current(["m"])
    drained = list[LiveVersion]()
    old, new = (live(staged, tmp_path, factor) for factor in (1.0, 2.0))
    current.swap({"m": old}, drained.append)
    for _ in range(2):
        current.require("m").pin()
    current.swap({"m": new}, drained.append)
    assert current.require("m") is new
    old.unpin()
    assert not drained
    old.unpin()
    assert drained == [old]


def test_a_replaced_version_without_pins_is_drained_at_once(
    tmp_path: Path, staged: Stage
) -> None:
    current = Current(["m"])
    drained = list[LiveVersion]()
    old, new = (live(staged, tmp_path, factor) for factor in (1.0, 2.0))
    current.swap({"m": old}, drained.append)
    old.pin()
    old.unpin()
    current.swap({"m": new}, drained.append)
    assert drained == [old]


def test_a_response_names_the_version_and_the_microseconds(
    tmp_path: Path, staged: Stage
) -> None:
    version = live(staged, tmp_path, 1.0)
    dict_hash = b"%d" % version.servable.version.dict_hash
    begin = b'{"status":"ok","dictHash":' + dict_hash + b',"serviceTimeMcs":1500,'
    body = RESPONSE % (version.envelope, 1500, b'{"y":1.0}')
    assert body == begin + b'"data":{"y":1.0}}'


def test_a_model_without_a_live_version() -> None:
    current = Current(["m"])
    assert current.get("m") is None
    with pytest.raises(NotReady, match="being loaded"):
        current.require("m")
    current.reasons["m"] = "it is broken"
    with pytest.raises(NotReady, match="it is broken"):
        current.require("m")


def test_an_unknown_model(tmp_path: Path, staged: Stage) -> None:
    current = Current(["m"])
    assert current.get("n") is None
    with pytest.raises(ModelNotFound, match="there are: m"):
        current.require("n")
    with pytest.raises(ModelNotFound, match="there are: m"):
        current.swap({"n": live(staged, tmp_path, 1.0)}, lambda _: None)
