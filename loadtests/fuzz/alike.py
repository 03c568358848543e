"""Requests and streams of bytes, to which all ways to a service answer alike."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loadtests.fuzz.cases import Case, Finding
from loadtests.fuzz.http1 import Answers, differences
from loadtests.fuzz.malformed import stream
from loadtests.fuzz.requests import any_request
from loadtests.fuzz.ways import Ways, open_ways


class Alike:
    """In turns: bytes of HTTP/1.1, requests by four ways, hostile connections."""

    def __init__(self, ways: Ways) -> None:
        self._ways = ways
        services = ways.services.items()
        self._pids = {name: one.worker_pids() for name, one in services}

    def case(self, seed: int) -> str:
        """Do one of each kind. Raises Finding."""
        rng = random.Random(seed)
        ways = self._ways
        requests = [any_request(rng) for _ in range(rng.randint(1, 6))]
        problem = (
            differences(Answers(ways.ports["ngh2"]), stream(rng), rng)
            or ways.differences(requests, rng)
            or ways.disturb(rng)
        )
        if problem:
            raise Finding(problem)
        return "answered alike: bytes, requests by four ways, beside hostile frames"

    def check(self) -> None:
        """Raise Finding if a worker has ended, or has written a traceback."""
        for name, service in self._ways.services.items():
            if service.worker_pids() != self._pids[name]:
                raise Finding(f"a worker has ended: {service.text()[-5000:]}")
        if "Traceback" in (text := self._ways.services["ngh2"].text()):
            raise Finding(text[-5000:])


@contextmanager
def opened(folder: Path, only: str) -> Iterator[Case]:
    """Run the services, and yield what tries a seed."""
    with open_ways(folder) as ways:
        alike = Alike(ways)
        yield alike.case
        alike.check()
