"""The index and the logs of a ring: what is found is what was appended."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gomlx.cache.shared_memory.appender import Appender
from gomlx.cache.shared_memory.entry import encode
from gomlx.cache.shared_memory.finder import Finder
from gomlx.cache.shared_memory.geometry import HEADER_BYTES, HEADS, Geometry, Log
from gomlx.cache.shared_memory.in_process import InProcessCache
from gomlx.cache.shared_memory.index import SLOT_BYTES, find
from gomlx.cache.shared_memory.refresh import RefreshQueue
from gomlx.cache.shared_memory.ring import Ring
from gomlx.errors import StoreUnavailable
from tests.cache.entries import answer, key

SIZE = 128 << 10
NOW = 1000.0
FOREVER = 1e9


class Model:
    """A ring, and a dict of everything that was appended to it."""

    def __init__(self, path: Path, size: int = SIZE) -> None:
        path.write_bytes(Geometry.of(size).header().ljust(size, b"\0"))
        self.ring = Ring(path)
        self.refresh = RefreshQueue()
        self.appended: dict[bytes, set[tuple[float, bytes]]] = {}
        self.appender = Appender(self.ring)

    def append(self, items: dict[bytes, tuple[float, bytes]]) -> None:
        entries = {k: encode(k, *item) for k, item in items.items()}
        self.appender.append(self.refresh.drain() | entries)
        for one, item in items.items():
            self.appended.setdefault(one, set()).add(item)

    def found(self, keys: list[bytes], now: float = NOW) -> dict[bytes, Any]:
        """Look up keys; whatever is found was appended and has not expired."""
        l0 = InProcessCache(max_entry_bytes=SIZE)
        answers = Finder(self.ring, self.refresh, l0, lambda: now).get_many(keys)
        for one, item in l0.answers.items():
            assert item in self.appended[one]
            assert item[0] > now
        assert answers == {one: item[1] for one, item in l0.answers.items()}
        return l0.answers

    def fill(self, numbers: range, batch: int = 50) -> None:
        for start in range(numbers.start, numbers.stop, batch):
            part = range(start, min(start + batch, numbers.stop))
            self.append({key(n): (FOREVER, answer(n)) for n in part})

    def age(self, bytes_: int) -> None:
        """Move both heads on, as if so many bytes had been appended."""
        for log in (self.ring.geometry.kept, self.ring.geometry.new):
            self.ring.heads[log.head] += bytes_


@pytest.fixture
def model(tmp_path: Path) -> Iterator[Model]:
    model = Model(tmp_path / "ring")
    yield model
    model.ring.close()


_NUMBERS = st.integers(0, 40)
_SIZES = st.sampled_from((0, 1, 7, 8, 9, 100, 1000, 4000, 20_000))
_ITEMS = st.dictionaries(_NUMBERS, st.tuples(_SIZES, st.integers(0, 20)), max_size=30)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(_ITEMS, st.lists(_NUMBERS)), max_size=30), st.integers(0, 9))
def test_what_is_found_was_appended(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[dict[int, tuple[int, int]], list[int]]],
    lap: int,
) -> None:
    model = Model(tmp_path_factory.mktemp("ring") / "ring", 64 << 10)
    model.age(lap * (model.ring.geometry.new.size // 3 & ~7))
    limit = model.appender.max_entry_bytes
    for now, (items, numbers) in enumerate(steps):
        new = {
            key(n): (now + life / 2, (b"%d;" % (n + now) * size)[:size])
            for n, (size, life) in items.items()
            if size + 40 <= limit
        }
        model.append(new)
        model.found([key(n) for n in numbers], now)
    model.ring.close()


def test_the_last_that_were_appended_are_found(model: Model) -> None:
    """Whatever their lengths: an entry that does not fit before the end moves on."""
    for n in range(3000):
        length = n * 37 % 700
        one = {key(n): (FOREVER, answer(n)[:1] * length)}
        model.append(one)
        assert model.found([key(n)]) == one


def test_an_entry_may_end_where_the_log_ends(model: Model) -> None:
    for log in (model.ring.geometry.kept, model.ring.geometry.new):
        for room in (32, 40, 48, 136):
            model.age(-model.ring.heads[log.head] % log.size - room)
            two = {key(n): (FOREVER, bytes(100)) for n in (room, room + 1)}
            model.append(two)
            assert model.found([*two]) == two


def test_a_later_entry_replaces_an_earlier_one_of_either_log(model: Model) -> None:
    model.fill(range(2000))  # until both are full
    for n in range(5000, 5200):
        for value in (b"first", b"second", b"third"):
            model.append({key(n): (FOREVER, value)})
            assert model.found([key(n)]) == {key(n): (FOREVER, value)}


def set_heads(model: Model, units_before_wrap: int) -> None:
    for log in (model.ring.geometry.kept, model.ring.geometry.new):
        model.ring.heads[log.head] = (log.wrap - units_before_wrap) * 8


@pytest.mark.parametrize("units", [0, 1, 16, 17, 1000, 5000])
def test_positions_wrap_after_eight_terabytes(model: Model, units: int) -> None:
    set_heads(model, units)
    for start in range(0, 4000, 20):
        for _ in range(2):  # once in each log
            model.fill(range(start, start + 20))
        recent = [key(n) for n in range(max(start - 20, 0), start + 20)]
        assert len(model.found(recent)) > len(recent) - 4
    kept = model.ring.geometry.kept
    assert model.ring.heads[kept.head] // 8 > kept.wrap
    assert not model.found([key(n) for n in range(500)])


def test_positions_say_where_an_entry_is_before_and_after_they_wrap() -> None:
    for size in (1 << 16, 3 << 20, (1 << 30) - 8):
        log = Log.of(0, 4096, size, 0.5)
        assert log.wrap <= 1 << 40
        assert log.wrap % log.units == 0
        assert log.wrap > (1 << 40) - log.units


def bucket_of(one: bytes, buckets: int) -> int:
    return HEADER_BYTES + int.from_bytes(one[:5], "little") % buckets * 64


def slot_at(model: Model, one: bytes) -> int:
    at = bucket_of(one, model.ring.geometry.buckets)
    return at + find(model.ring.memory[at : at + 64], one[5:8])


def test_an_old_position_that_looks_young_finds_nothing(model: Model) -> None:
    """Its slot has stayed where it was for eight terabytes."""
    model.fill(range(1))
    at = slot_at(model, key(0))
    slot = model.ring.memory[at : at + SLOT_BYTES]
    model.fill(range(1, 3000))
    kept = model.ring.geometry.kept
    at = bucket_of(key(0), model.ring.geometry.buckets)
    model.ring.memory[at : at + SLOT_BYTES] = slot
    position = int.from_bytes(slot[3:], "little")
    for age in (1, kept.units // 2, kept.units):
        model.ring.heads[kept.head] = (kept.wrap + position + age) * 8
        assert not model.found([key(0)])


def test_an_entry_is_found_until_a_writer_has_come_to_it(model: Model) -> None:
    """Also while its bytes are still there: they may be about to change."""
    model.fill(range(1))
    kept = model.ring.geometry.kept
    size = len(encode(key(0), FOREVER, answer(0)))
    model.age(kept.size - size)
    assert model.found([key(0)])
    model.age(8)
    assert not model.found([key(0)])


def test_keys_with_the_same_tag_and_bucket_do_not_meet(model: Model) -> None:
    one, other = key(1), key(1)[:8] + bytes(8)
    model.append({one: (FOREVER, b"one")})
    assert model.found([other]) == {}
    model.append({other: (FOREVER, b"other")})
    assert model.found([one, other]) == {other: (FOREVER, b"other")}


def test_usage_counts_bytes_and_estimates_entries(model: Model) -> None:
    assert model.ring.usage() == (0, 0, 0)
    model.fill(range(100))
    size = len(encode(key(0), FOREVER, answer(0)))
    used, entries, overwritten = model.ring.usage()
    assert (used, overwritten) == (100 * size, 0)
    assert entries == 100  # all buckets of so small a ring are counted
    model.fill(range(100, 20_000))
    used, entries, overwritten = model.ring.usage()
    logs = model.ring.geometry.kept.size + model.ring.geometry.new.size
    assert used == logs
    assert 19_900 * size - logs < overwritten < 20_500 * size - logs
    assert model.ring.overwritten_bytes() == overwritten
    live = len(model.found([key(n) for n in range(20_000)]))
    assert 0.95 * live <= entries <= 1.05 * live


def test_heads_are_stored_in_the_header(model: Model) -> None:
    model.fill(range(10))
    kept, new = struct.unpack("=Q56xQ56x", model.ring.memory[HEADS])[:2]
    assert kept == model.ring.heads[model.ring.geometry.kept.head]
    assert new == model.ring.geometry.new.size


@pytest.mark.parametrize("data", [b"", b"x" * 1000, b"x" * (1 << 20)])
def test_a_file_that_is_no_ring_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "ring").write_bytes(data)
    with pytest.raises(StoreUnavailable):
        Ring(tmp_path / "ring")
