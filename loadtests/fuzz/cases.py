"""Cases that are made from a seed each, until time is up or one finds something."""

import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

# A seed → what kind of outcome the case had. Raises Finding.
Case = Callable[[int], str]


class Finding(Exception):
    """What a case found to be wrong. options: with which it is found again."""

    def __init__(self, text: str, options: str = "") -> None:
        super().__init__(text)
        self.options = options


@dataclass(frozen=True)
class Plan:
    """Which cases are tried: from one seed on, for some seconds, or so many.

    command repeats a case, with its seed behind it.
    """

    command: str
    seed: int
    seconds: float
    count: int | None = None

    def run(self, case: Case) -> Counter[str]:
        """Try cases, and return how many had which outcome. Exits at a finding."""
        outcomes: Counter[str] = Counter()
        deadline = time.monotonic() + self.seconds
        seed = self.seed
        while self._goes_on(outcomes.total(), deadline):
            try:
                outcomes[case(seed)] += 1
            except Finding as finding:
                again = f"{self.command} {finding.options} --seed {seed} --cases 1"
                sys.exit(f"{finding}\n\nagain: {again}")
            seed += 1
        return outcomes

    def _goes_on(self, done: int, deadline: float) -> bool:
        if self.count is None:
            return time.monotonic() < deadline
        return done < self.count


def cut(data: bytes, rng: random.Random) -> bytes:
    """Return bytes of which some are changed, removed, repeated or set to zero."""
    if not data:
        return b"\0" * rng.randint(1, 9)
    start = rng.randrange(len(data))
    stop = min(len(data), start + rng.choice((1, 1, 2, 8, 64, 4096)))
    part = data[start:stop]
    changed = bytearray(part)
    changed[rng.randrange(len(part))] ^= 1 << rng.randrange(8)
    new = rng.choice(
        (
            bytes(changed),
            bytes(changed),
            b"",
            part * rng.choice((2, 3, 100)),
            bytes(len(part)),
            rng.randbytes(len(part)),
        )
    )
    return data[:start] + new + data[stop:] if rng.random() < 0.9 else data[:start]
