"""What a service occupies: processes, descriptors, files."""

from collections.abc import Mapping
from pathlib import Path

from loadtests.load.procfs import descriptors
from tests.support.processes import processes_in
from tests.support.service import Service

# By how much a number may vary: connections to Redis are opened when they are needed,
# and the slots of two workers that start at once have one file more.
_SLACK = {"open sockets": 24, "open files": 4, "files in /dev/shm": 2}


def footprint(service: Service) -> dict[str, int]:
    """Return the numbers of what a service occupies."""
    pids = processes_in(service.folder)
    links = [link for pid in pids for link in descriptors(pid)]
    sockets = [link for link in links if link.startswith("socket:")]
    return {
        "processes": len(pids),
        "open sockets": len(sockets),
        "open files": len(links) - len(sockets),
        "files in /dev/shm": len([*service.files.shared.rglob("*")]),
        "staged versions": sum(map(_superfluous, service.files.models.glob("*"))),
    }


def _superfluous(model: Path) -> int:
    """Count versions of a model beside the live one and the one before it."""
    return max(len([*model.iterdir()]) - 2, 0)


def grown(before: Mapping[str, int], after: Mapping[str, int]) -> list[str]:
    """Return what is there that was not there before."""
    return [
        f"{after[name] - count} {name}"
        for name, count in before.items()
        if after[name] - count > _SLACK.get(name, 0)
    ]
