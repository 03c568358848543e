"""What is requested: rows that have numbers, and which numbers come in which order.

    Rows      number → the JSON of a row: flights in order of time, or made up
    Traffic   the numbers: recurring ones, new ones, Zipf with churn

All of it is plain values, so that it can be sent to the process that sends requests.
"""

import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate, count, cycle
from typing import NamedTuple

from loadtests.load.ranking import CATEGORIES, FLOATS, WORDS

# A float32 holds seven digits exactly: no two numbers have the same row.
FIRST = 1_000_000
LAST = 9_999_999
HIT = 0
MISS = 1
_TEMPLATES = 64
_BATCH = 100
_HEAD = b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@dataclass(frozen=True)
class Rows:
    """The bodies of requests by number. Each template has %d in place of the number.

    fixed: there are only these rows, and a number is an index into them.
    """

    templates: tuple[bytes, ...] = ()
    fixed: tuple[bytes, ...] = ()

    def body(self, n: int) -> bytes:
        """Return the body of the request of number n."""
        if self.fixed:
            return self.fixed[n % len(self.fixed)]
        return self.templates[n % len(self.templates)].replace(b"%d", b"%d" % n)


def strings() -> Rows:
    """Return rows of S: two strings, of which one is in no other row."""
    return Rows(templates=(b'{"sa":"a-%d","sl":"word-1"}',))


def ranked() -> Rows:
    """Return rows of R, D and E: known words, and a float that no other row has."""
    chance = random.Random(1)
    return Rows(templates=tuple(_ranked(chance) for _ in range(_TEMPLATES)))


def _ranked(chance: random.Random) -> bytes:
    row: dict[str, object] = {c: f"{c}-{chance.randrange(WORDS)}" for c in CATEGORIES}
    row |= {name: chance.randrange(FIRST, LAST) for name in FLOATS[1:]}
    text = json.dumps(row, separators=(",", ":"))
    return text[:-1].encode() + b',"%b":%%d}' % FLOATS[0].encode()


def flights() -> Rows:
    """Return the flights that left New York City in 2013, in order of departure."""
    from gomlx.demo.flights import FEATURES, arrived

    frame = arrived()
    frame = frame.sort_values(["time_hour", "sched_dep_time"])[list(FEATURES)]
    names = list(frame.columns)
    rows = zip(*(frame[name].tolist() for name in names), strict=True)
    return Rows(
        fixed=tuple(
            json.dumps(dict(zip(names, row, strict=True))).encode() for row in rows
        )
    )


def batches(rows: Rows) -> Rows:
    """Return batches of a hundred rows. Batch n has those of numbers n00 to n99."""
    found = []
    templates = cycle(rows.templates)
    for _ in rows.templates:
        next(templates)  # each batch begins with another template
        texts = [
            next(templates).replace(b"%d", b'"%%d%02d"' % n) for n in range(_BATCH)
        ]
        columns = [json.loads(text) for text in texts]
        body = {name: [row[name] for row in columns] for name in columns[0]}
        text = json.dumps({"batch_size": _BATCH, **body}, separators=(",", ":"))
        found.append(re.sub(r'"(%d\d\d)"', r"\1", text).encode())
    return Rows(templates=tuple(found))


class Request(NamedTuple):
    """One request as bytes. kind: HIT or MISS, as far as the sender can know."""

    kind: int
    data: bytes


class Zipf(NamedTuple):
    """A popularity of rows: the n-th has a share proportional to 1 / n ** exponent.

    churn: the share of requests that replace the row which they pick by a new one.
    """

    exponent: float
    churn: float = 0.0


@dataclass(frozen=True)
class Traffic:
    """Requests for one path.

    hits: the share of requests for one of the `recurring` rows from `first` on. The
    others are for rows from `start` on, `repeats` times each. zipf: instead, all
    requests are for `recurring` rows from `start` on, by their popularity. in_order:
    all requests are for rows from `start` on, one after the other.
    """

    path: str
    rows: Rows
    hits: float = 1.0
    recurring: int = 1000
    first: int = FIRST
    start: int = FIRST
    repeats: int = 1
    zipf: Zipf | None = None
    in_order: bool = False
    seed: int = 1

    def request(self, n: int, kind: int = MISS) -> Request:
        """Return the request for the row of number n."""
        return Request(kind, raw(self.path, self.rows.body(n)))

    def recurring_requests(self) -> list[Request]:
        """Return a request for each recurring row."""
        numbers = range(self.first, self.first + self.recurring)
        return [self.request(n, HIT) for n in numbers]

    def requests(self) -> Iterator[Request]:
        """Yield requests without end."""
        if self.in_order:
            return map(self.request, count(self.start))
        return self._by_popularity(self.zipf) if self.zipf else self._mixed()

    def _mixed(self) -> Iterator[Request]:
        recurring = cycle(self.recurring_requests())
        chance = random.Random(self.seed)
        new = (n for n in count(self.start) for _ in range(self.repeats))
        while True:
            is_hit = self.hits == 1 or chance.random() < self.hits
            yield next(recurring) if is_hit else self.request(next(new))

    def _by_popularity(self, zipf: Zipf) -> Iterator[Request]:
        chance = random.Random(self.seed)
        new = count(self.start)
        rows = [next(new) for _ in range(self.recurring)]
        places = range(self.recurring)
        sums = list(accumulate(1 / (place + 1) ** zipf.exponent for place in places))
        while True:
            for place in chance.choices(places, cum_weights=sums, k=100):
                if chance.random() < zipf.churn:
                    rows[place] = next(new)
                yield self.request(rows[place])

    def at(self, start: int) -> "Traffic":
        """Return the same traffic with other new rows."""
        return replace(self, start=start)


def raw(path: str, body: bytes) -> bytes:
    """Return a whole request."""
    return _HEAD % path.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body
