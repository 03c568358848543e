"""What happens in a life, and when: drawn from a seed."""

import random
from enum import StrEnum
from typing import NamedTuple

HOURS = 8.0  # of the life that is simulated


class Kind(StrEnum):
    """What happens to a service."""

    RELOADED = "a model gets a new version"
    RETURNED = "a model gets an earlier version back"
    BROKEN = "a model gets files that cannot be staged"
    WORKER = "a worker is killed"
    MASTER = "Gunicorn's master is killed"
    STOPPED = "Redis hangs"
    RESTARTED = "Redis is killed, and starts empty"
    FLUSHED = "Redis is flushed"
    SLOW = "Redis is slow"
    FULL = "Redis is full"
    BURST = "a burst of connections"
    HOSTILE = "malformed requests"


# How often each happens, in an hour of the life.
_AN_HOUR = {
    Kind.RELOADED: 4.0,
    Kind.RETURNED: 2.0,
    Kind.BROKEN: 1.0,
    Kind.WORKER: 3.0,
    Kind.STOPPED: 1.0,
    Kind.RESTARTED: 1.0,
    Kind.FLUSHED: 1.0,
    Kind.SLOW: 1.0,
    Kind.FULL: 1.0,
    Kind.BURST: 6.0,
    Kind.HOSTILE: 3.0,
}


class Event(NamedTuple):
    """Something that happens, so many seconds after the start."""

    at: float
    kind: Kind


def schedule(seconds: float, warm_seconds: float, rng: random.Random) -> list[Event]:
    """Return the events of a run in their order; at least one of each kind.

    The master is killed once, while the service warms up: all that its workers have
    learnt goes with it.
    """
    hours = HOURS * seconds / (20 * 60)
    found = [Event(rng.uniform(0.3, 0.7) * warm_seconds, Kind.MASTER)]
    for kind, rate in _AN_HOUR.items():
        count = max(1, round(rate * hours))
        found += [Event(rng.uniform(0.02, 0.95) * seconds, kind) for _ in range(count)]
    return sorted(found)
