"""The live versions of a worker follow the manifest."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any, cast

import pytest

from gomlx.metrics.instruments import Counter, Gauge
from gomlx.models.serving.current import Current, LiveVersion
from gomlx.models.version import Manifest, ModelVersion
from gomlx.server.process.loading import Loads
from gomlx.server.process.reload import Reloader

pytestmark = pytest.mark.asyncio


@dataclass
class Live:
    """What the reloader needs of a live version."""

    digest: str

    def drain(self, when_drained: Any) -> None:
        when_drained(self)


@dataclass
class Loader:
    """Loads every version but the failing ones, and records its calls."""

    failing: set[str] = field(default_factory=set)
    loaded: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    on_load: Callable[[], None] = lambda: None

    def load(self, version: ModelVersion) -> LiveVersion:
        self.loaded.append(version.digest)
        self.on_load()
        if version.digest in self.failing:
            raise MemoryError("no memory")
        return cast(LiveVersion, Live(version.digest))

    def close(self, live: LiveVersion) -> None:
        self.closed.append(live.digest)


class Worker:
    """A reloader over a manifest in a folder, and its clock. seconds: for a load."""

    def __init__(self, folder: Path, seconds: float = 60, loader: Any = None) -> None:
        self.folder = folder
        self.now = 0.0
        self.current = Current(["m", "n"])
        self.loader: Any = loader or Loader()
        self.counts: dict[tuple[str, ...], Counter] = {}
        self.admitted: list[str] = []
        self.anew: set[str] = set()
        metrics: Any = self
        self.reloader = Reloader(
            folder / "manifest",
            self.current,
            Loads(self.loader, seconds),
            metrics,
            self,
            lambda: self.now,
        )

    def look(self) -> set[str]:
        anew = self.anew
        self.anew = set()
        return anew

    def admit(self, name: str) -> None:
        self.admitted.append(name)

    def counter(self, *key: str) -> Counter:
        return self.counts.setdefault(key, Counter())

    def gauge(self, *_: str) -> Gauge:
        return Gauge()

    def publish(self, failures: dict[str, str] | None = None, **digests: str) -> None:
        versions = {
            name: ModelVersion(name, digest, self.folder)
            for name, digest in digests.items()
        }
        Manifest(versions, failures or {}).write(self.folder / "manifest")

    def live(self, name: str) -> str:
        found = self.current.get(name)
        return found.digest if found else ""


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    return Worker(tmp_path)


async def test_a_published_version_replaces_the_live_one(worker: Worker) -> None:
    worker.publish(m="a" * 32)
    await worker.reloader.catch_up()
    await worker.reloader.catch_up()
    assert worker.loader.loaded == ["a" * 32]
    worker.publish(m="b" * 32)
    await worker.reloader.catch_up()
    assert worker.live("m") == "b" * 32
    assert worker.loader.closed == ["a" * 32]
    assert worker.counter("gomlx_loads", "m", "loaded").n == 2


async def test_a_version_that_cannot_be_loaded_is_tried_again_later(
    worker: Worker,
) -> None:
    worker.publish(m="a" * 32)
    await worker.reloader.catch_up()
    worker.loader.failing.add("b" * 32)
    worker.publish(m="b" * 32)
    for _ in range(3):
        await worker.reloader.catch_up()
    assert worker.live("m") == "a" * 32
    assert worker.loader.loaded == ["a" * 32, "b" * 32]
    assert "no memory" in worker.current.reasons["m"]
    assert worker.counter("gomlx_loads", "m", "failed").n == 1
    worker.loader.failing.clear()
    worker.now += 31
    await worker.reloader.catch_up()
    assert worker.live("m") == "b" * 32
    assert not worker.current.reasons


async def test_a_rollback_forgets_why_the_newer_version_failed(worker: Worker) -> None:
    worker.publish(m="a" * 32)
    await worker.reloader.catch_up()
    worker.loader.failing.add("b" * 32)
    worker.publish(m="b" * 32)
    await worker.reloader.catch_up()
    worker.publish(m="a" * 32)
    await worker.reloader.catch_up()
    assert not worker.current.reasons
    assert worker.loader.loaded == ["a" * 32, "b" * 32]


async def test_a_failure_of_a_version_that_was_replaced_meanwhile_is_ignored(
    worker: Worker,
) -> None:
    worker.loader.failing.add("a" * 32)
    worker.loader.on_load = lambda: worker.publish(m="b" * 32)
    worker.publish(m="a" * 32)
    await worker.reloader.catch_up()
    assert not worker.current.reasons


async def test_a_failure_of_a_version_whose_files_are_gone_has_a_reason(
    worker: Worker, tmp_path: Path
) -> None:
    """It is staged anew; until then, requests get the reason."""
    worker.loader.failing.add("a" * 32)
    version = ModelVersion("m", "a" * 32, tmp_path / "removed")
    Manifest({"m": version}).write(tmp_path / "manifest")
    await worker.reloader.catch_up()
    assert "cannot be loaded" in worker.current.reasons["m"]


async def test_one_model_that_fails_keeps_no_other_from_loading(
    worker: Worker,
) -> None:
    worker.loader.failing.add("a" * 32)
    worker.publish(m="a" * 32, n="b" * 32)
    await worker.reloader.catch_up()
    assert (worker.live("m"), worker.live("n")) == ("", "b" * 32)


async def test_a_model_that_was_never_staged_has_the_reason(worker: Worker) -> None:
    worker.publish({"m": "no such bucket", "n": "half a copy"}, n="b" * 32)
    await worker.reloader.catch_up()
    assert worker.current.reasons == {"m": "no such bucket"}
    assert worker.current.slot("m").not_ready().retry_after


async def test_only_a_failure_that_may_pass_has_a_time_to_retry(worker: Worker) -> None:
    versions = {"n": ModelVersion("n", "b" * 32, worker.folder)}
    failures = {"m": "no graph", "n": "no graph"}
    manifest = Manifest(versions, failures, refused=["m", "n"])
    manifest.write(worker.folder / "manifest")
    await worker.reloader.catch_up()
    assert worker.current.slot("m").not_ready().retry_after is None
    assert worker.current.slot("n").not_ready().retry_after  # it has a version
    worker.publish({"m": "no such bucket"})
    await worker.reloader.catch_up()
    assert worker.current.slot("m").not_ready().retry_after


async def test_a_version_of_an_unknown_model_is_not_loaded(worker: Worker) -> None:
    worker.publish(other="a" * 32)
    await worker.reloader.catch_up()
    assert worker.loader.loaded == []


def with_signatures(
    worker: Worker, digest: str, refused: dict[str, str] | None = None, **digests: str
) -> None:
    """Publish a version of m with further signatures, by their digests."""
    further = tuple(
        ModelVersion(f"m:{name}", one, worker.folder, name)
        for name, one in digests.items()
    )
    version = ModelVersion("m", digest, worker.folder, "own", further, refused or {})
    Manifest({"m": version}).write(worker.folder / "manifest")


async def test_all_signatures_of_a_version_are_swapped_together(
    worker: Worker,
) -> None:
    with_signatures(worker, "a" * 32, s="b" * 32)
    await worker.reloader.catch_up()
    assert worker.admitted == ["m:s"]
    with_signatures(worker, "c" * 32, s="d" * 32, t="e" * 32)
    seen: list[list[str]] = []
    load: Callable[[ModelVersion], LiveVersion] = worker.loader.load

    def watched(version: ModelVersion) -> LiveVersion:
        seen.append([worker.live("m"), worker.live("m:s"), worker.live("m:t")])
        return load(version)

    worker.loader.load = watched
    await worker.reloader.catch_up()
    assert seen == [["a" * 32, "b" * 32, ""]] * 3
    assert worker.current.names == ["m", "n", "m:s", "m:t"]
    assert (worker.live("m:s"), worker.live("m:t")) == ("d" * 32, "e" * 32)
    assert worker.admitted == ["m:s", "m:t"]
    assert sorted(worker.loader.closed) == ["a" * 32, "b" * 32]


async def test_a_signature_that_a_version_does_not_have_is_live_no_more(
    worker: Worker,
) -> None:
    with_signatures(worker, "a" * 32, s="b" * 32)
    await worker.reloader.catch_up()
    with_signatures(worker, "c" * 32)
    await worker.reloader.catch_up()
    assert worker.live("m:s") == ""
    assert sorted(worker.loader.closed) == ["a" * 32, "b" * 32]
    error = worker.current.slot("m:s").not_ready()
    assert "does not have it; it has: own" in str(error)
    assert error.retry_after is None
    assert worker.current.names == ["m", "n"]
    with_signatures(worker, "a" * 32, s="b" * 32)
    await worker.reloader.catch_up()
    assert worker.live("m:s") == "b" * 32
    assert not worker.current.reasons


async def test_a_signature_that_cannot_be_loaded_keeps_no_other_from_it(
    worker: Worker,
) -> None:
    with_signatures(worker, "a" * 32, s="b" * 32)
    await worker.reloader.catch_up()
    worker.loader.failing.add("d" * 32)
    with_signatures(worker, "c" * 32, s="d" * 32, t="e" * 32)
    for _ in range(3):
        await worker.reloader.catch_up()
    assert [worker.live(n) for n in ("m", "m:s", "m:t")] == ["c" * 32, "", "e" * 32]
    assert "no memory" in str(worker.current.slot("m:s").not_ready())
    assert worker.loader.loaded.count("d" * 32) == 1
    worker.loader.failing.clear()
    worker.now += 31
    await worker.reloader.catch_up()
    assert worker.live("m:s") == "d" * 32


async def test_no_signature_is_swapped_without_the_own_one(worker: Worker) -> None:
    with_signatures(worker, "a" * 32, s="b" * 32)
    await worker.reloader.catch_up()
    worker.loader.failing.add("c" * 32)
    with_signatures(worker, "c" * 32, t="e" * 32)
    await worker.reloader.catch_up()
    assert [worker.live(n) for n in ("m", "m:s", "m:t")] == ["a" * 32, "b" * 32, ""]
    assert worker.current.names == ["m", "n", "m:s"]


async def test_another_name_for_a_signature_shares_its_version(
    worker: Worker,
) -> None:
    with_signatures(worker, "a" * 32, s="a" * 32)
    await worker.reloader.catch_up()
    assert worker.loader.loaded == ["a" * 32]
    assert worker.current.get("m") is worker.current.get("m:s")
    with_signatures(worker, "b" * 32, s="a" * 32)
    await worker.reloader.catch_up()
    assert worker.loader.closed == []  # it still has a name
    with_signatures(worker, "b" * 32, s="b" * 32)
    await worker.reloader.catch_up()
    assert worker.loader.closed == ["a" * 32]
    assert worker.loader.loaded == ["a" * 32, "b" * 32]


async def test_why_a_signature_is_refused(worker: Worker) -> None:
    with_signatures(worker, "a" * 32, {"m:s": "complex"})
    await worker.reloader.catch_up()
    assert worker.current.reasons == {"m:s": "complex"}
    assert worker.current.refused == {"m:s"}
    assert worker.current.names == ["m", "n"]
    with_signatures(worker, "b" * 32)
    await worker.reloader.catch_up()
    assert not worker.current.reasons


@asynccontextmanager
async def following(worker: Worker) -> AsyncIterator[None]:
    task = asyncio.create_task(worker.reloader.follow())
    yield
    task.cancel()


async def until_live(worker: Worker, name: str, digest: str) -> None:
    async with asyncio.timeout(30):
        while worker.live(name) != digest:
            await asyncio.sleep(0.005)


async def test_a_wake_up_is_followed_by_a_look_at_the_manifest(
    worker: Worker,
) -> None:
    async with following(worker):
        await asyncio.sleep(0.05)
        worker.publish(m="a" * 32)
        worker.reloader.wake()
        async with asyncio.timeout(2):  # without the signal, it looks after 3 s
            await until_live(worker, "m", "a" * 32)


async def test_an_unreadable_manifest_does_not_end_it(
    worker: Worker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "manifest").write_text("{")
    async with following(worker):
        async with asyncio.timeout(30):
            while "cannot follow the manifest" not in caplog.text:
                await asyncio.sleep(0.005)
        worker.publish(m="a" * 32)
        worker.reloader.wake()
        await until_live(worker, "m", "a" * 32)


async def test_a_version_is_loaded_anew_where_the_config_asks_for_it(
    worker: Worker,
) -> None:
    worker.publish(m="a" * 32, n="b" * 32)
    await worker.reloader.catch_up()
    worker.anew = {"m"}
    worker.loader.failing.add("a" * 32)
    await worker.reloader.catch_up()
    assert worker.live("m") == "a" * 32  # the one that was loaded before
    worker.loader.failing.clear()
    worker.reloader.wake()
    await worker.reloader.catch_up()
    assert worker.loader.loaded == ["a" * 32, "b" * 32, "a" * 32, "a" * 32]
    assert worker.loader.closed == ["a" * 32]
    await worker.reloader.catch_up()
    assert len(worker.loader.loaded) == 4


async def test_a_model_that_is_gone_is_not_loaded(worker: Worker) -> None:
    worker.publish(m="a" * 32, n="b" * 32)
    await worker.reloader.catch_up()
    slot = worker.current.slot("n")
    worker.current.configure(["m"], worker.loader.close)
    worker.publish(failures={"n": "no files"}, m="a" * 32, n="b" * 32)
    await worker.reloader.catch_up()
    assert worker.current.names == ["m"]
    assert worker.current.reasons == {}
    assert worker.loader.closed == ["b" * 32]
    assert slot.not_ready().status == 404  # for who has it still


@dataclass
class HangingLoader(Loader):
    """Loads of b hang until they may end."""

    may_end: Event = field(default_factory=Event)

    def load(self, version: ModelVersion) -> LiveVersion:
        if version.digest == "b" * 32:
            self.may_end.wait(60)
        return super().load(version)


@pytest.fixture
def hanging(tmp_path: Path) -> Iterator[Worker]:
    """A worker in which loads of b hang."""
    loader = HangingLoader()
    yield Worker(tmp_path, 0.3, loader)
    loader.may_end.set()


async def caught_up(worker: Worker, condition: Callable[[], object]) -> None:
    """Follow the manifest until a condition is true, and try failures again."""
    async with asyncio.timeout(60):
        while not condition():
            worker.now += 31
            await worker.reloader.catch_up()
            await asyncio.sleep(0.01)


async def test_a_load_that_hangs_fails_and_keeps_no_other_from_loading(
    hanging: Worker,
) -> None:
    hanging.publish(m="a" * 32)
    await caught_up(hanging, lambda: hanging.live("m"))
    hanging.publish(m="b" * 32, n="c" * 32)
    await caught_up(hanging, lambda: hanging.live("n"))
    assert hanging.live("m") == "a" * 32
    assert "over 0.3 s to load and warm" in hanging.current.reasons["m"]
    assert hanging.counter("gomlx_loads", "m", "failed").n >= 1


async def test_a_load_that_is_late_is_not_done_again(hanging: Worker) -> None:
    hanging.publish(m="b" * 32)
    await caught_up(
        hanging, lambda: hanging.counter("gomlx_loads", "m", "failed").n > 2
    )
    assert hanging.live("m") == ""
    hanging.loader.may_end.set()
    await caught_up(hanging, lambda: hanging.live("m"))
    assert hanging.loader.loaded == ["b" * 32]
    assert not hanging.current.reasons


async def test_a_late_version_that_is_wanted_no_more_is_released(
    hanging: Worker,
) -> None:
    hanging.publish(m="b" * 32)
    await hanging.reloader.catch_up()
    hanging.publish(m="a" * 32)
    await caught_up(hanging, lambda: hanging.live("m"))
    hanging.loader.may_end.set()
    await caught_up(hanging, lambda: hanging.loader.closed)
    assert hanging.loader.closed == ["b" * 32]
    assert hanging.live("m") == "a" * 32


async def test_a_late_load_with_an_older_config_is_done_again(hanging: Worker) -> None:
    hanging.publish(m="b" * 32)
    await hanging.reloader.catch_up()
    hanging.anew = {"m"}
    hanging.loader.may_end.set()
    await caught_up(hanging, lambda: hanging.live("m") and hanging.loader.closed)
    assert hanging.loader.loaded == ["b" * 32] * 2
