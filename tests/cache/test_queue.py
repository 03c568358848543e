"""Entries that wait to be written, bounded in bytes."""

from collections.abc import Collection

import pytest

from gomlx.cache.queue import ByteBoundedQueue

ENTRY = 250  # bytes, besides key and value


def queue_of(entries: int, key_and_value: int = 5) -> ByteBoundedQueue[float]:
    """A queue with room for so many entries of so many bytes."""
    return ByteBoundedQueue(entries * (ENTRY + key_and_value))


@pytest.fixture
def removed() -> list[Collection[bytes]]:
    return []


def test_queued_values_are_found() -> None:
    queue = queue_of(9)
    assert queue.find([b"a"]) == {}
    queue.add(b"a", b"1234", 1.5)
    queue.add(b"b", b"5678", 2.5)
    assert queue.find([b"b", b"x", b"a"]) == {b"a": b"1234", b"b": b"5678"}
    assert queue.entries == {b"a": (b"1234", 1.5), b"b": (b"5678", 2.5)}


def test_a_key_has_one_value() -> None:
    queue = queue_of(1)
    queue.add(b"a", b"1234", 1.5)
    assert queue.add(b"a", b"5678", 2.5) == ()
    assert queue.entries == {b"a": (b"1234", 1.5)}


def test_a_full_queue_drops_its_oldest(removed: list[Collection[bytes]]) -> None:
    queue = queue_of(3)
    queue.on_removed(removed.append)
    dropped = [[*queue.add(key, b"1234", 1)] for key in (b"a", b"b", b"c", b"d", b"e")]
    assert dropped == [[], [], [], [b"a"], [b"b"]]
    assert removed == [[b"a"], [b"b"]]
    assert list(queue.entries) == [b"c", b"d", b"e"]


def test_a_large_value_displaces_several() -> None:
    queue = queue_of(3)
    for key in (b"a", b"b", b"c"):
        queue.add(key, b"1234", 1)
    assert queue.add(b"d", b"x" * (ENTRY + 9), 1) == [b"a", b"b"]
    assert list(queue.entries) == [b"c", b"d"]


def test_keys_count_or_not() -> None:
    for counts_keys, kept in ((True, [b"b" * 100]), (False, [b"a" * 100, b"b" * 100])):
        queue = ByteBoundedQueue[float](2 * (ENTRY + 4), counts_keys)
        queue.add(b"a" * 100, b"1234", 1)
        queue.add(b"b" * 100, b"1234", 1)
        assert list(queue.entries) == kept
        queue.discard(kept)
        queue.add(b"c" * 100, b"1234", 1)
        assert list(queue.entries) == [b"c" * 100]


def test_a_value_larger_than_the_queue_is_not_kept() -> None:
    queue = queue_of(2)
    queue.add(b"a", b"1234", 1)
    assert queue.add(b"b", b"x" * 1000, 1) == [b"a", b"b"]
    assert not queue.entries
    assert queue.add(b"c", b"1234", 1) == ()


def test_room_is_given_back(removed: list[Collection[bytes]]) -> None:
    queue = queue_of(2)
    queue.on_removed(removed.append)
    for _ in range(100):
        assert queue.add(b"a", b"1234", 1) == ()
        assert queue.add(b"b", b"1234", 1) == ()
        queue.discard([b"b", b"a"])
    assert removed == [[b"b", b"a"]] * 100


def test_listeners_learn_of_keys_that_were_never_queued() -> None:
    queue = queue_of(1)
    first: list[bytes] = []
    second: list[bytes] = []
    queue.on_removed(first.extend)
    queue.on_removed(second.extend)
    queue.discard((b"x",))
    assert first == second == [b"x"]


def test_a_batch_has_the_oldest_entries() -> None:
    queue = queue_of(100)
    for n in range(50):
        queue.add(b"%02d" % n, b"12345678", 1)
    assert list(queue.first(1000, 3)) == [b"00", b"01", b"02"]
    assert list(queue.first(29)) == [b"00", b"01", b"02"]
    assert len(queue.first(10_000)) == 50
    assert len(queue.entries) == 50
