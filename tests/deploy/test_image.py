"""deploy/Containerfile: linted, built, and run as the user that it names.

The base comes from Debian's packages (mmdebstrap) where no registry of images is
reached; buildah needs no daemon.
"""

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from gomlx.runtime.rundir import RunDir
from tests.deploy.tools import program
from tests.docs.blocks import ROOT
from tests.support import saved_models
from tests.support.service import wait_for

FILE = ROOT / "deploy" / "Containerfile"
USER = 65532
RUN_DIR = "/run/gomlx/state"
# What tells this machine's pip which index to ask, and whom to trust.
_MOUNTED = ("/etc/pip.conf", "/etc/ssl/certs")
_SECONDS = 420


def test_lint() -> None:
    ended = subprocess.run(
        [program("hadolint"), "--failure-threshold", "info", FILE],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout


def test_the_base_is_pinned() -> None:
    (base,) = (
        line.removeprefix("ARG BASE=")
        for line in FILE.read_text().splitlines()
        if line.startswith("ARG BASE=")
    )
    assert re.search(r":\d+\.\d+\.\d+-", base)


@dataclass(frozen=True)
class Buildah:
    """buildah with storage of its own."""

    path: str
    folder: Path

    def command(self, *arguments: str) -> list[str]:
        """Return a command, for a process that goes on."""
        storage = ["--root", f"{self.folder}/store", "--runroot", f"{self.folder}/run"]
        return [self.path, *storage, *arguments]

    def run(self, *arguments: str) -> str:
        """Return what a command prints; fail with what it says."""
        ended = subprocess.run(
            self.command(*arguments),
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
            cwd=ROOT,
        )
        assert ended.returncode == 0, ended.stderr[-3000:]
        return ended.stdout.strip()


@pytest.fixture(scope="module")
def buildah(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Buildah]:
    if os.geteuid() != 0:
        pytest.skip("only root makes root file systems")
    folder = tmp_path_factory.mktemp("buildah")
    yield Buildah(program("buildah"), folder)
    # Layers are mounted, or belong to other users.
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def base(buildah: Buildah) -> str:
    """An image with Debian's Python."""
    archive = buildah.folder / "root.tar"
    made = subprocess.run(
        [
            program("mmdebstrap"),
            "--variant=apt",
            "--include=python3-venv,ca-certificates",
            "bookworm",
            archive,
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=_SECONDS,
    )
    if made.returncode:
        pytest.skip(f"no Debian packages: {made.stderr.strip().splitlines()[-1]}")
    try:
        container = buildah.run("from", "scratch")
        buildah.run("add", "-q", container, str(archive), "/")
        archive.unlink()
        buildah.run("run", "--isolation=chroot", container, "--", "true")
        buildah.run("commit", "-q", "--rm", container, "localhost/base")
    except AssertionError as error:  # a sandbox that lets nobody mount, for one
        pytest.skip(f"this machine runs no containers: {str(error)[-500:]}")
    return "localhost/base"


@pytest.fixture(scope="module")
def image(buildah: Buildah, base: str) -> str:
    """The image, from this tree."""
    mounts = [f"--volume={p}:{p}:ro" for p in _MOUNTED if Path(p).exists()]
    buildah.run(
        "build",
        "-q",
        "--isolation=chroot",
        "--network=host",
        f"--build-arg=BASE={base}",
        f"--file={FILE}",
        f"--ignorefile={FILE}.dockerignore",
        "--tag=localhost/gomlx",
        *mounts,
        ".",
    )
    return "localhost/gomlx"


@pytest.fixture(scope="module")
def settings(buildah: Buildah, image: str) -> dict[str, Any]:
    """What the image says of itself."""
    found: dict[str, Any] = json.loads(buildah.run("inspect", "--type=image", image))
    config: dict[str, Any] = found["OCIv1"]["config"]
    return config


def test_what_runs(settings: dict[str, Any]) -> None:
    assert settings["User"] == f"{USER}:{USER}"
    assert settings["StopSignal"] == "SIGTERM"
    assert settings["Entrypoint"] == ["/opt/gomlx/bin/gomlx"]  # no shell
    assert settings["Cmd"] == ["serve", "-c", "/etc/gomlx/config.yaml"]


def supervisors_of(user: int, program: str) -> list[int]:
    """Return the first processes of a user's services, which Python runs."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().split(b"\0")
            is_theirs = path.stat().st_uid == user and words[0].endswith(b"python3")
            if is_theirs and program.encode() == words[1]:
                found.append(int(path.name))
        except (OSError, IndexError):
            continue  # it has ended, or is one of the kernel's
    return found


def test_it_serves_and_stops(
    buildah: Buildah, image: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    config = {
        "run_dir": RUN_DIR,
        "endpoint": {"port": 0, "workers": 1, "drain_seconds": 0.5},
        "models": [{"id": "m", "url": "/models/m", "datastore": "a"}],
        "datastores": [{"id": "a", "memory_mb": 16}],
    }
    saved_models.scale(tmp_path / "models" / "m", 2.0)
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.yaml").write_text(yaml.safe_dump(config))
    for path in (tmp_path, *tmp_path.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    log = tmp_path / "log"
    container = buildah.run("from", image)
    command = buildah.command(
        "run",
        "--isolation=chroot",
        f"--volume={tmp_path}/config:/etc/gomlx:ro",
        f"--volume={tmp_path}/models:/models:ro",
        container,
        "--",
        *settings["Entrypoint"],
        *settings["Cmd"],
    )
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        wait_for(lambda: "listening at" in log.read_text() or process.poll(), 200)
        lines = log.read_text().splitlines()
        urls = [line.split()[-1] for line in lines if "listening at" in line]
        assert urls, lines
        answer = httpx.post(f"{urls[0]}/v1/api/model/m/eval", json={"x": 3.0})
        assert answer.json()["data"] == {"y": 6.0}
        (first,) = supervisors_of(USER, settings["Entrypoint"][0])
        os.kill(first, signal.SIGTERM)
        assert process.wait(120) == 0
        assert log.read_text().splitlines()[-1].endswith("stopped")
    finally:
        process.kill()
        process.wait()
        for pid in supervisors_of(USER, settings["Entrypoint"][0]):
            os.kill(pid, signal.SIGKILL)
        buildah.run("rm", container)
        # It is this machine's /dev/shm, which keeps stores for the next start.
        ours = RunDir(Path(RUN_DIR)).shared
        name = ours.name.replace(f"-{os.getuid()}-", f"-{USER}-")
        shutil.rmtree(ours.with_name(name), ignore_errors=True)
