"""Every way to a service answers alike: python -m loadtests.fuzz --seconds 60

In turns: bytes of HTTP/1.1, from right requests to garbage, as the hot protocol and as
Gunicorn's reads them; requests, right and wrong, over HTTP/1.1 and HTTP/2, by both
implementations of each, cut and mixed at random; and connections of HTTP/2 that break
rules, beside which others are answered. Ends at the first difference, which is printed
with its seed, and fails if a worker has ended or has logged a traceback.
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from loadtests.fuzz.http1 import Answers, differences
from loadtests.fuzz.malformed import stream
from loadtests.fuzz.requests import any_request
from loadtests.fuzz.ways import Ways, open_ways
from loadtests.load.procfs import memory


def step(ways: Ways, seed: int, done: Counter[str]) -> str:
    """Do one of each kind; return what was wrong, or an empty text."""
    rng = random.Random(seed)
    requests = [any_request(rng) for _ in range(rng.randint(1, 6))]
    done["streams of bytes"] += 1
    done["requests by four ways"] += len(requests)
    done["hostile connections"] += 2
    return (
        differences(Answers(ways.ports["ngh2"]), stream(rng), rng)
        or ways.differences(requests, rng)
        or ways.disturb(rng)
    )


def run(ways: Ways, seconds: float, seed: int) -> Counter[str]:
    """Compare until time is up. Exits at a difference."""
    done: Counter[str] = Counter()
    pids = {name: one.worker_pids() for name, one in ways.services.items()}
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if problem := step(ways, seed, done):
            sys.exit(f"seed {seed}: {problem}")
        seed += 1
    for name, service in ways.services.items():
        if service.worker_pids() != pids[name]:
            sys.exit(f"a worker has ended: {service.text()}")
    if "Traceback" in (text := ways.services["ngh2"].text()):
        sys.exit(text)
    return done


def main() -> None:
    """Compare until time is up, or until answers differ."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=time.time_ns())
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="gomlx-") as folder,
        open_ways(Path(folder)) as ways,
    ):
        services = ways.services.values()
        before = [memory(one.worker_pids()).rss for one in services]
        done = run(ways, arguments.seconds, arguments.seed)
        after = [memory(one.worker_pids()).rss for one in services]
    for what, count in done.items():
        sys.stdout.write(f"{count} {what}\n")
    grown = [round(y - x) for x, y in zip(before, after, strict=True)]
    sys.stdout.write(f"from seed {arguments.seed}; workers have grown by {grown} MB\n")


if __name__ == "__main__":
    main()
