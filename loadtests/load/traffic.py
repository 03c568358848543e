"""What is requested: rows that have numbers, and which numbers come in which order.

    Rows      number → the JSON of a row: flights in time order, or made up
    Traffic   which numbers: known ones again and again, new ones, Zipf with churn

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

# Seven digits, which a float32 tells apart: no number has another's row.
FIRST, LAST = 1_000_000, 9_999_999
HIT, MISS = 0, 1
_TEMPLATES = 64
_BATCH = 100
_HEAD = b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@dataclass(frozen=True)
class Rows:
    """The bodies of requests by number, which each template has %d for.

    fixed: there are only these rows, and a number is a place among them.
    """

    templates: tuple[bytes, ...] = ()
    fixed: tuple[bytes, ...] = ()

    def body(self, n: int) -> bytes:
        if self.fixed:
            return self.fixed[n % len(self.fixed)]
        return self.templates[n % len(self.templates)].replace(b"%d", b"%d" % n)


def strings() -> Rows:
    """S: two strings that no other row has."""
    return Rows(templates=(b'{"sa":"a-%d","sl":"word-1"}',))


def ranked() -> Rows:
    """R and D: known words, and a float that no other row has."""
    chance = random.Random(1)
    return Rows(templates=tuple(_ranked(chance) for _ in range(_TEMPLATES)))


def _ranked(chance: random.Random) -> bytes:
    row: dict[str, object] = {c: f"{c}-{chance.randrange(WORDS)}" for c in CATEGORIES}
    row |= {name: chance.randrange(FIRST, LAST) for name in FLOATS[1:]}
    text = json.dumps(row, separators=(",", ":"))
    return text[:-1].encode() + b',"%b":%%d}' % FLOATS[0].encode()


def flights() -> Rows:
    """The flights that left New York City in 2013, in the order of their departure."""
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
    """Return requests for a hundred rows: of number n, those from n00 to n99."""
    found, many = [], cycle(rows.templates)
    for _ in rows.templates:
        next(many)  # each begins with another
        texts = [next(many).replace(b"%d", b'"%%d%02d"' % n) for n in range(_BATCH)]
        columns = [json.loads(text) for text in texts]
        body = {name: [row[name] for row in columns] for name in columns[0]}
        text = json.dumps({"batch_size": _BATCH, **body}, separators=(",", ":"))
        found.append(re.sub(r'"(%d\d\d)"', r"\1", text).encode())
    return Rows(templates=tuple(found))


class Request(NamedTuple):
    """One request as bytes; kind: HIT or MISS, as far as the sender knows."""

    kind: int
    data: bytes


@dataclass(frozen=True)
class Traffic:
    """Requests for one path.

    hits: the share of requests for one of the `known` rows from `first` on; the others
    are for rows from `start` on, `repeats` times each. exponent: all requests are for
    rows of a Zipf distribution over `known` rows instead; churn: the share of requests
    that replace one of those rows by a new one.
    """

    path: str
    rows: Rows
    hits: float = 1.0
    known: int = 1000
    first: int = FIRST
    start: int = FIRST
    repeats: int = 1
    exponent: float = 0.0
    churn: float = 0.0
    in_order: bool = False  # rows from start on, one after the other, again and again
    seed: int = 1

    def request(self, n: int, kind: int = MISS) -> Request:
        return Request(kind, raw(self.path, self.rows.body(n)))

    def known_requests(self) -> list[Request]:
        return [
            self.request(n, HIT) for n in range(self.first, self.first + self.known)
        ]

    def requests(self) -> Iterator[Request]:
        """Yield requests without end."""
        if self.in_order:
            return map(self.request, count(self.start))
        return self._zipf() if self.exponent else self._mixed()

    def _mixed(self) -> Iterator[Request]:
        known, chance = cycle(self.known_requests()), random.Random(self.seed)
        new = (n for n in count(self.start) for _ in range(self.repeats))
        while True:
            is_hit = self.hits == 1 or chance.random() < self.hits
            yield next(known) if is_hit else self.request(next(new))

    def _zipf(self) -> Iterator[Request]:
        chance, new = random.Random(self.seed), count(self.start)
        rows = [next(new) for _ in range(self.known)]
        ranks = range(1, self.known + 1)
        sums = list(accumulate(1 / rank**self.exponent for rank in ranks))
        while True:
            for place in chance.choices(range(self.known), cum_weights=sums, k=100):
                if chance.random() < self.churn:
                    rows[place] = next(new)
                yield self.request(rows[place])

    def at(self, start: int) -> "Traffic":
        """Return the same with other new rows."""
        return replace(self, start=start)


def raw(path: str, body: bytes) -> bytes:
    """Return a whole request."""
    return _HEAD % path.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body
