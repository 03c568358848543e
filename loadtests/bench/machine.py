"""The machine and the versions of a measurement, without the name of the machine."""

import os
import platform
import re
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = (
    "tensorflow-cpu",
    "tensorflow",
    "gunicorn",
    "falcon",
    "uvloop",
    "httptools",
    "orjson",
    "fastapi",
    "uvicorn",
)
_PROGRAMS = {
    "nginx": ("-v", r"nginx/([\d.]+)"),
    "wrk": ("-v", r"wrk \S*?([\d.]+)"),
    "h2load": ("--version", r"nghttp2/([\d.]+)"),
    "redis-server": ("--version", r"v=([\d.]+)"),
}


def describe() -> dict[str, str]:
    """Return the machine, the kernel and every version that matters."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    found = {
        "CPU": cpu[1].strip() if cpu else platform.machine(),
        "cores": str(os.cpu_count()),
        "memory": f"{memory:.0f} GB",
        "kernel": platform.release().split("-")[0],
        "Python": platform.python_version(),
    }
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found | {p: v for p in _PROGRAMS if (v := _program(p))}


def commit() -> str:
    """Return the version of gomlx, and the commit where there is one."""
    command = ["git", "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return version("gomlx")
    return f"{version('gomlx')}, {done.stdout.strip()}"


def _program(name: str) -> str:
    if not shutil.which(name):
        return ""
    option, pattern = _PROGRAMS[name]
    done = subprocess.run([name, option], capture_output=True, text=True, check=False)
    found = re.search(pattern, done.stdout + done.stderr)
    return found[1] if found else ""
