"""The programs that tests of deploy/ run, and where they come from.

`python -m tests.deploy.tools` says which are here, and installs Debian packages of the
others, if this user may. A test whose program is missing is skipped, and says so.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

# Where a program is looked for, beside PATH.
_FOLDERS = (str(Path(sys.executable).parent), "/usr/sbin", "/sbin")
DEBIAN = {
    "buildah": "buildah",
    "chromium": "chromium",
    "crun": "crun",
    "haproxy": "haproxy",
    "mmdebstrap": "mmdebstrap",
    "nginx": "nginx-light",
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "strace": "strace",
    "systemd-analyze": "systemd",
}
# The extra deploy-test of setup.cfg brings these.
PYTHON = ("envoy", "hadolint", "kubernetes-validate")
_INSTALL_SECONDS = 240
_POLICY = Path("/usr/sbin/policy-rc.d")  # asked before a package starts a server
_APT = ("apt-get", "-q", "-y", "-o", "Acquire::Retries=2")


def program(name: str) -> str:
    """Return the path of a program; skip the test that needs it if it is missing."""
    found = _find(name)
    if found is None:
        where = f"Debian's {DEBIAN[name]}" if name in DEBIAN else "extra deploy-test"
        pytest.skip(f"{name} is missing ({where})")
    return found


def _find(name: str) -> str | None:
    path = os.pathsep.join((os.environ.get("PATH", ""), *_FOLDERS))
    return shutil.which(name, path=path)


def _apt(*arguments: str) -> str:
    """Run apt-get. Return why it failed, or nothing."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        ended = subprocess.run(
            [*_APT, *arguments],
            capture_output=True,
            text=True,
            env=environment,
            timeout=_INSTALL_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    lines = ended.stderr.strip().splitlines() or [f"code {ended.returncode}"]
    return "" if ended.returncode == 0 else lines[-1]


@contextmanager
def _no_services_started() -> Iterator[None]:
    """Keep the servers among the packages from running on this machine."""
    if _POLICY.exists():
        yield
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n")  # forbidden
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink()


def _install(packages: list[str]) -> str:
    """Install packages; return why some are not, or nothing."""
    if os.geteuid() != 0 or _find("apt-get") is None:
        return "only root installs packages, and only on Debian"
    install = ("install", "--no-install-recommends")
    with _no_services_started():
        if problem := _apt("update"):
            return problem
        if not _apt(*install, *packages):
            return ""
        problems = [_apt(*install, one) for one in packages]  # those that are there
    return "; ".join(filter(None, problems))


def main() -> None:
    """Install what is missing; print a line a program."""
    missing = sorted({p for name, p in DEBIAN.items() if _find(name) is None})
    problem = _install(missing) if missing else ""
    if missing:
        outcome = f"not all installed: {problem}" if problem else "installed"
        print(f"Debian packages {', '.join(missing)}: {outcome}")  # noqa: T201  # a person reads it
    for name in (*sorted(DEBIAN), *PYTHON):
        print(f"{name}: {_find(name) or 'missing, its tests are skipped'}")  # noqa: T201


if __name__ == "__main__":
    main()
