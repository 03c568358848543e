"""Entries that wait to be written to a young table."""

from gomlx.cache.shared_memory.refresh import RefreshQueue

A = b"a" * 16
B = b"b" * 16
C = b"c" * 16


def one_page(_: bytes) -> int:
    return 1


def queue_of(*keys: bytes) -> RefreshQueue:
    queue = RefreshQueue()
    for key in keys:
        queue.add(key, key + b" entry")
    return queue


def test_entries_are_popped_in_order_and_as_many_as_fit() -> None:
    queue = queue_of(A, B, C)
    assert list(queue.pop(2, one_page)) == [A, B]
    assert queue.pop(2, one_page) == {C: C + b" entry"}
    assert queue.pop(2, one_page) == {}


def test_a_large_entry_stays_until_there_is_room() -> None:
    queue = queue_of(A, B)
    assert queue.pop(5, lambda _: 6) == {}
    assert len(queue) == 2
    assert list(queue.pop(12, lambda _: 6)) == [A, B]


def test_a_key_is_queued_once() -> None:
    queue = queue_of(A)
    queue.add(A, b"another")
    assert queue.drain() == {A: A + b" entry"}
    assert len(queue) == 0
    assert queue.drain() == {}


def test_entries_are_put_back_before_the_others() -> None:
    queue = queue_of(A, B)
    popped = queue.pop(1, one_page)
    queue.add(C, b"entry")
    queue.put_back(popped)
    assert list(queue.drain()) == [A, B, C]


def test_a_full_queue_takes_no_more_until_some_are_written() -> None:
    queue = RefreshQueue()
    for n in range(2000):
        queue.add(b"%016d" % n, bytes(1024))
    assert len(queue) == 1024
    queue.pop(1000, one_page)
    queue.add(A, b"entry")
    assert A in queue.drain()
