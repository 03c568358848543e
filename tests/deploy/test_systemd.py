"""deploy/systemd: what systemd says of the unit, and what the unit lets gomlx do."""

import re
import subprocess
import sys
from configparser import RawConfigParser
from pathlib import Path

import pytest

from gomlx.config.schema import Endpoint, Watch
from tests.deploy.tools import program
from tests.docs.blocks import ROOT
from tests.support import saved_models
from tests.support.service import running

UNIT = ROOT / "deploy" / "systemd" / "gomlx.service"
_STOP_SECONDS = 15  # that a stop may take beyond its graceful time
_MINUTE = 60


@pytest.fixture(scope="module")
def unit() -> dict[str, str]:
    """The section of the unit that says how the service runs."""
    parser = RawConfigParser(strict=False, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNIT)
    return dict(parser["Service"])


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program("systemd-analyze"), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", ["gomlx.service", "gomlx.socket"])
def test_systemd_understands_each_line(tmp_path: Path, name: str) -> None:
    copy = tmp_path / "gomlx.service"
    (tmp_path / "gomlx.socket").write_text(UNIT.with_suffix(".socket").read_text())
    gomlx = Path(sys.executable).with_name("gomlx")
    copy.write_text(UNIT.read_text().replace("/opt/gomlx/bin/gomlx", str(gomlx)))
    ended = analyze("verify", str(tmp_path / name))
    # It says more about units of this machine.
    assert [x for x in ended.stderr.splitlines() if "gomlx" in x] == []
    assert ended.returncode == 0


def test_a_misspelt_option_is_found(tmp_path: Path) -> None:
    copy = tmp_path / "gomlx.service"
    copy.write_text(UNIT.read_text().replace("DynamicUser=", "DynamikUser="))
    assert "DynamikUser" in analyze("verify", str(copy)).stderr


def test_little_is_exposed() -> None:
    ended = analyze("security", "--offline=true", "--no-pager", str(UNIT))
    (level,) = re.findall(r"Overall exposure level for \S+: ([\d.]+)", ended.stdout)
    assert float(level) <= 4.0


def test_a_stop_has_its_time(unit: dict[str, str]) -> None:
    endpoint = Endpoint()
    needed = endpoint.drain_seconds + endpoint.graceful_seconds + _STOP_SECONDS
    assert float(unit["TimeoutStopSec"]) >= needed
    assert unit["KillMode"] == "mixed"


def test_a_start_has_its_time(unit: dict[str, str]) -> None:
    minutes = float(unit["TimeoutStartSec"].removesuffix("min"))
    assert minutes * _MINUTE > Watch().stage_seconds


def allowed(filters: str) -> set[str]:
    """Return the system calls that SystemCallFilter= allows, its groups expanded."""
    found = set()
    todo = filters.split()
    while todo:
        name = todo.pop()
        if name.startswith("@"):
            lines = analyze("syscall-filter", name).stdout.splitlines()[1:]
            todo += [x.strip() for x in lines if x.strip() and "#" not in x]
        else:
            found.add(name)
    return found


def test_the_service_makes_no_call_that_the_unit_forbids(
    tmp_path: Path, unit: dict[str, str]
) -> None:
    """From the staging of a model to the stop, in all processes."""
    trace = tmp_path / "trace"
    quiet = allowed(unit["SystemCallFilter"]) - {"landlock_restrict_self"}
    # ?: those that this processor has.
    kept = f"trace=!{','.join(f'?{name}' for name in sorted(quiet))}"
    # -D: the service, and not strace, is the process that is started.
    prefix = [program("strace"), "-D", "-f", "-qq", "--seccomp-bpf", "-e", kept]
    saved_models.scale(tmp_path / "m", 2.0)
    config = {
        "models": [{"id": "m", "url": "m", "datastore": "a"}],
        "datastores": [{"id": "a", "memory_mb": 1}],
    }
    prefix += ["-o", str(trace)]
    with running(tmp_path, config, prefix, stages=True) as service:
        assert service.post("m", {"x": 3.0}).json()["data"] == {"y": 6.0}
        service.stop()
    calls = re.findall(r"^\d+ +(\w+)\(", trace.read_text(), re.M)
    assert set(calls) == {"landlock_restrict_self"}  # and it has looked
