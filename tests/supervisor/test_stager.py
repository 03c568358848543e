"""Staging processes: what they report, and what remains of those that are killed."""

import asyncio
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from gomlx.errors import StageFailed, StageInterrupted
from gomlx.models.source import Snapshot
from gomlx.models.version import Settings, StageLimits, StageRequest
from gomlx.supervisor.stager import Guests, Stager, remove_unfinished
from tests.support.saved_models import save, spec

SOMETHING = Snapshot("/nowhere", ())


def request_in(folder: Path) -> StageRequest:
    into = folder / "staged"
    into.mkdir(parents=True)
    return StageRequest("m", str(folder / "model"), into, "serving_default", {})


@pytest.mark.asyncio
async def test_a_source_without_a_model_is_not_staged(tmp_path: Path) -> None:
    with pytest.raises(StageInterrupted, match=r"no saved_model\.pb and no"):
        await Stager(60).stage(request_in(tmp_path), None)


@pytest.mark.asyncio
async def test_an_error_of_the_source_is_raised(tmp_path: Path) -> None:
    observed = StageInterrupted("no access")
    with pytest.raises(StageInterrupted, match="no access"):
        await Stager(60).stage(request_in(tmp_path), observed)


@pytest.mark.asyncio
async def test_the_error_of_the_process_is_raised(tmp_path: Path) -> None:
    """The model was observed, and is removed before the process looks for it."""
    with pytest.raises(StageInterrupted, match=r"no saved_model\.pb and no"):
        await Stager(60).stage(request_in(tmp_path), SOMETHING)


@pytest.mark.asyncio
async def test_files_that_no_later_staging_can_serve(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "saved_model.pb").write_bytes(b"not a graph")
    with pytest.raises(StageFailed, match="cannot be read") as raised:
        await Stager(60).stage(request_in(tmp_path), SOMETHING)
    assert not isinstance(raised.value, StageInterrupted)


@pytest.mark.asyncio
async def test_a_process_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    request = request_in(tmp_path)
    (request.into / ".staging-x").mkdir()
    with pytest.raises(StageInterrupted, match="staging took over 0 s"):
        await Stager(0.001).stage(request, SOMETHING)
    assert list(request.into.iterdir()) == []


@pytest.mark.asyncio
async def test_a_signature_that_ends_the_process_is_refused_alone(
    tmp_path: Path,
) -> None:
    module = tf.Module()

    def aborts(x: Any) -> dict[str, Any]:
        end = tf.raw_ops.Abort(error_msg="ended", exit_without_error=False)
        with tf.control_dependencies([end]):
            return {"y": tf.identity(x)}

    def function(f: Any) -> Any:
        return tf.function(f, input_signature=[spec("x")])

    signatures = {
        "serving_default": function(lambda x: {"y": x}),
        "bad": function(aborts),
        "twice": function(lambda x: {"y": 2.0 * x}),
    }
    module.functions = signatures
    tf.saved_model.save(module, str(tmp_path / "model"), signatures=signatures)
    request = replace(request_in(tmp_path), signatures=None)
    version = await Stager(100, is_quiet=True).stage(request, SOMETHING)
    assert [one.name for one in version.further] == ["m:twice"]
    assert "the staging process ended with code" in version.refused["m:bad"]
    assert version.may_gain


def endless(x: Any) -> Any:
    (y,) = tf.while_loop(lambda y: y < 1e12, lambda y: (y + 1,), (tf.constant(0.0),))
    return {"y": x + y}


def large(x: Any) -> Any:
    count = 2**31 - tf.shape(x, tf.int64)[:1]
    return {"y": x + tf.reduce_sum(tf.fill(count, 0.0))}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("function", "limits", "reason"),
    [
        (
            endless,
            StageLimits(cpu_seconds=12),
            r"over 12 s of CPU time \(watch\.stage_cpu_seconds\)",
        ),
        (
            large,
            StageLimits(memory_mb=512),
            r"it may allocate 512 MB \(watch\.stage_memory_mb\)",
        ),
    ],
)
async def test_limits_of_a_staging(
    tmp_path: Path, function: Any, limits: StageLimits, reason: str
) -> None:
    save(tmp_path / "model", function, [spec("x")])
    request = replace(
        request_in(tmp_path),
        limits=limits,
        confined=True,
        settings=Settings(rows="alone"),
    )
    with pytest.raises(StageFailed, match=reason):
        await Stager(100, is_quiet=True).stage(request, SOMETHING)


def test_only_unfinished_work_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".staging-1" / "saved_model").mkdir(parents=True)
    (tmp_path / "0123").mkdir()
    remove_unfinished(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["0123"]


@pytest.mark.asyncio
async def test_a_staging_that_hangs_leaves_its_place_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is one place, and what has it imports a library that hangs."""
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    (tmp_path / "hangs.py").write_text("import time; time.sleep(60)")
    paths = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", paths)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "saved_model.pb").write_bytes(b"not a graph")
    settings = Settings(libraries=("hangs",))
    hanging = replace(request_in(tmp_path), settings=settings)
    stager = Stager(120, share_seconds=0.5)
    stuck = asyncio.create_task(stager.stage(hanging, SOMETHING))
    await asyncio.sleep(0)
    with pytest.raises(StageInterrupted, match=r"no saved_model\.pb and no"):
        await stager.stage(replace(hanging, url=str(tmp_path / "none")), SOMETHING)
    assert not stuck.done()
    stuck.cancel()
    with suppress(asyncio.CancelledError):
        await stuck


def children() -> list[int]:
    tasks = Path("/proc/self/task").glob("*/children")
    return [int(pid) for task in tasks for pid in task.read_text().split()]


def nice_of(pid: int) -> int:
    with suppress(OSError):
        return os.getpriority(os.PRIO_PROCESS, pid)
    return 0  # it has ended


@pytest.mark.asyncio
async def test_a_staging_is_a_guest_beside_what_answers(tmp_path: Path) -> None:
    """It may take long then, so the test ends before it."""
    stager = Stager(100, guests=Guests(lambda: True))
    staging = asyncio.create_task(stager.stage(request_in(tmp_path), SOMETHING))
    while not {10, 19}.intersection(map(nice_of, children())):
        assert not staging.done()
        await asyncio.sleep(0.001)
    staging.cancel()
    with suppress(asyncio.CancelledError):
        await staging


@pytest.mark.asyncio
async def test_a_staging_is_no_guest_where_nothing_answers(tmp_path: Path) -> None:
    staging = asyncio.create_task(Stager(100).stage(request_in(tmp_path), SOMETHING))
    seen = set[int]()
    while not staging.done():
        seen |= set(map(nice_of, children()))
        await asyncio.sleep(0.01)
    assert isinstance(staging.exception(), StageInterrupted)
    assert seen <= {os.nice(0), 0}


@pytest.mark.asyncio
async def test_one_guest_at_a_time(tmp_path: Path) -> None:
    """Two models that have no files: the second begins when the first has failed."""
    earlier = {*children()}  # of other tests: a server of forks
    stager = Stager(100, guests=Guests(lambda: True, patient_seconds=0.01))
    requests = [request_in(tmp_path / name) for name in ("a", "b")]
    stagings = [
        asyncio.create_task(stager.stage(request, SOMETHING)) for request in requests
    ]
    most = 0
    while not all(staging.done() for staging in stagings):
        most = max(most, len({*children()} - earlier))
        await asyncio.sleep(0.01)
    for staging in stagings:
        assert isinstance(staging.exception(), StageInterrupted)
    assert most == 1
