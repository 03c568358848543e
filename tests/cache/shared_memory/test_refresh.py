"""Entries that wait to be written again."""

from zlib import crc32

from gomlx.cache.shared_memory.entry import HEAD_BYTES, encode
from gomlx.cache.shared_memory.refresh import RefreshQueue

A = b"a" * 16
B = b"b" * 16
C = b"c" * 16
MUCH = 1 << 20


def entry(key: bytes, answer: bytes = b"answer") -> bytes:
    return encode(key, 1.5, answer)


def add(queue: RefreshQueue, key: bytes, answer: bytes = b"answer") -> None:
    rest = entry(key, answer)[4 : HEAD_BYTES + len(answer)]
    queue.add(key, rest, crc32(rest))


def queue_of(*keys: bytes) -> RefreshQueue:
    queue = RefreshQueue()
    for key in keys:
        add(queue, key)
    return queue


def test_entries_are_those_that_were_written() -> None:
    queue = RefreshQueue()
    expected = {}
    for length in range(20):
        key = b"%016d" % length
        add(queue, key, bytes(length))
        expected[key] = entry(key, bytes(length))
    assert queue.drain() == expected


def test_entries_are_popped_in_order_and_as_many_as_fit() -> None:
    queue = queue_of(A, B, C)
    assert list(queue.pop(2, MUCH)) == [A, B]
    assert queue.pop(2, MUCH) == {C: entry(C)}
    assert queue.pop(2, MUCH) == {}


def test_a_large_entry_stays_until_there_is_room() -> None:
    queue = queue_of(A, B)
    size = len(entry(A))
    assert queue.pop(9, size - 1) == {}
    assert len(queue) == 2
    assert list(queue.pop(9, 2 * size)) == [A, B]


def test_a_key_is_queued_once() -> None:
    queue = queue_of(A)
    add(queue, A, b"another")
    assert queue.drain() == {A: entry(A)}
    assert len(queue) == 0
    assert queue.drain() == {}


def test_a_full_queue_takes_no_more_until_some_are_written() -> None:
    queue = RefreshQueue()
    for n in range(2000):
        add(queue, b"%016d" % n, bytes(1024 - HEAD_BYTES))
    assert len(queue) == 1024
    queue.pop(1000, MUCH)
    add(queue, A)
    assert A in queue.drain()
