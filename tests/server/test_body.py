"""Bodies as they arrive: what they hold, and when they are joined."""

import tracemalloc

import pytest

from gomlx.server.body import LARGE_BYTES, BodyBudget, BodyParts, TooManyBodies


@pytest.mark.parametrize("size", [1, 1000, 20_000, 300_000])
def test_parts_of_any_size_are_one_body(size: int) -> None:
    whole = bytes(range(256)) * 1200
    body = BodyParts(BodyBudget(len(whole)))
    for at in range(0, len(whole), size):
        body.add(whole[at : at + size])
    assert len(body) == len(whole)
    assert body.text() is body
    assert body.joined() == whole
    assert body.joined() == whole


def test_a_small_body_is_bytes() -> None:
    body = BodyParts(BodyBudget(LARGE_BYTES))
    body.add(b"{")
    body.add(b"}")
    assert body.text() == b"{}"


def test_a_body_is_held_as_long_as_it_exists() -> None:
    bodies = BodyBudget(100)
    one = BodyParts(bodies)
    one.add(b"x" * 60)
    two = BodyParts(bodies)
    two.add(b"x" * 40)
    with pytest.raises(TooManyBodies, match="more than 100 bytes") as caught:
        two.add(b"x")
    assert caught.value.retry_after
    del caught  # its traceback refers to the body
    assert len(two.joined()) == 40
    del one
    two.add(b"x")
    assert bodies.held == 41
    two.release()
    assert bodies.held == 0
    assert len(two) == 41
    del two
    assert bodies.held == 0


def test_small_parts_take_little_more_than_their_bytes() -> None:
    body = BodyParts(BodyBudget(1 << 20))
    tracemalloc.start()
    for _ in range(1 << 19):
        body.add(b"ab")
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 1.2 * (1 << 20)
