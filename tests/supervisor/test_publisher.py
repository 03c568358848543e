"""What the manifest holds, when workers are signalled, which versions are kept."""

import os
from pathlib import Path

import pytest

from gomlx.models.version import Manifest, ModelVersion
from gomlx.supervisor.publisher import Publisher


class Published:
    """A publisher in a folder, and how often it has signalled the workers."""

    def __init__(self, folder: Path) -> None:
        self.models = folder / "models"
        self.path = folder / "manifest.json"
        self.signals = 0
        self.publisher = Publisher(self.path, self._signal)
        self.publisher.start()

    def _signal(self) -> None:
        self.signals += 1

    @property
    def manifest(self) -> Manifest:
        return Manifest.read(self.path)

    def version(self, number: int) -> ModelVersion:
        """A staged version. A higher number is a newer one."""
        directory = self.models / f"{number:032x}"
        directory.mkdir(parents=True, exist_ok=True)
        os.utime(directory, (number, number))
        return ModelVersion("m", directory.name, directory)


@pytest.fixture
def published(tmp_path: Path) -> Published:
    return Published(tmp_path)


def test_the_manifest_is_empty_at_the_start(published: Published) -> None:
    assert published.path.is_file()
    assert published.manifest == Manifest()
    assert published.signals == 0


def test_a_version_is_published_and_signalled(published: Published) -> None:
    version = published.version(1)
    published.publisher.publish(version)
    assert published.manifest.versions == {"m": version}
    assert published.manifest.reloads == {"m": {"published": 1}}
    assert published.signals == 1


def test_the_same_version_again_is_unchanged(published: Published) -> None:
    for _ in range(2):
        published.publisher.publish(published.version(1))
    assert published.manifest.reloads == {"m": {"published": 1, "unchanged": 1}}


def test_a_failure_keeps_the_live_version(
    published: Published, caplog: pytest.LogCaptureFixture
) -> None:
    version = published.version(1)
    published.publisher.publish(version)
    published.publisher.report_failure("m", "no graph", may_pass=True)
    assert published.manifest.versions == {"m": version}
    assert published.manifest.failures == {"m": "no graph"}
    assert published.signals == 2
    assert f"no graph; version {version.digest} stays live" in caplog.text


def test_a_failure_is_reported_once_while_its_reason_stays_the_same(
    published: Published, caplog: pytest.LogCaptureFixture
) -> None:
    for reason in ("no graph", "no graph", "no disk", "no disk"):
        published.publisher.report_failure("m", reason, may_pass=True)
    assert published.manifest.reloads == {"m": {"failed": 2}}
    assert published.signals == 2
    assert len(caplog.records) == 2


def test_a_success_clears_the_failure(published: Published) -> None:
    published.publisher.report_failure("m", "no graph", may_pass=False)
    published.publisher.publish(published.version(1))
    assert published.manifest.failures == {}
    assert published.manifest.refused == []


def test_the_last_failure_says_whether_it_may_pass(published: Published) -> None:
    for model in ("m", "n", "m"):
        reason = f"no graph of {model}"
        published.publisher.report_failure(model, reason, may_pass=False)
    assert published.manifest.refused == ["m", "n"]
    published.publisher.report_failure("m", "no access", may_pass=True)
    assert published.manifest.refused == ["n"]


def test_the_live_version_and_the_one_before_are_kept(published: Published) -> None:
    for number in (1, 2, 3):
        published.publisher.publish(published.version(number))
    kept = {int(path.name, 16) for path in published.models.iterdir()}
    assert kept == {2, 3}


def test_the_newest_version_of_an_earlier_run_is_kept(published: Published) -> None:
    for number in (1, 2):
        published.version(number)
    (published.models / ".staging-x").mkdir()  # of a staging that may be running
    published.publisher.publish(published.version(3))
    published.publisher.publish(published.version(3))
    kept = {path.name[-1] for path in published.models.iterdir()}
    assert kept == {"2", "3", "x"}
