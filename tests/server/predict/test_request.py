"""A pending request ends once, and holds its version until its last outcome."""

from gomlx.cache.tier import Hit
from gomlx.errors import DeadlineExceeded, RunFailed, TransformFailed
from gomlx.server.predict.parse import ParsedRequest
from tests.server.predict.fakes import (
    ANSWER,
    DIGEST,
    FakeBatcher,
    FakeOwner,
    live_version,
    parsed_of,
    pending_of,
)


def test_the_last_outcome_ends_it() -> None:
    owner = FakeOwner()
    live = live_version(FakeBatcher())
    pending = pending_of(live, parsed_of(1, 2, 3), [None, ANSWER, None], owner)
    assert (pending.name, pending.missing, pending.hits) == ("m", 2, 1)
    assert [*pending.places()] == [0, 2]
    pending.complete(2, ANSWER)
    assert (owner.endings, live.pins) == ([], 1)
    pending.complete(0, ANSWER)
    assert (owner.endings, live.pins) == ([None], 0)


def test_the_first_error_ends_it_and_the_last_outcome_releases_the_version() -> None:
    owner = FakeOwner()
    live = live_version(FakeBatcher())
    pending = pending_of(live, parsed_of(1, 2, 3), owner=owner)
    assert [*pending.places()] == [0, 1, 2]
    error = DeadlineExceeded.of("m")
    pending.complete(0, error)
    pending.complete(1, RunFailed("another"))
    assert (owner.endings, live.pins) == ([error], 1)
    pending.complete(2, ANSWER)
    assert (owner.endings, live.pins) == ([error], 0)


def test_a_failed_run_names_the_row_of_a_batch() -> None:
    error = TransformFailed("m", "package.module:function", ValueError("thirteen"))
    owner = FakeOwner()
    batch = pending_of(live_version(FakeBatcher()), parsed_of(1, 2, 3), owner=owner)
    batch.complete(1, error)
    (found,) = owner.endings
    assert isinstance(found, TransformFailed)
    assert str(found) == f"row 1: {error}"
    owner = FakeOwner()
    single = pending_of(live_version(FakeBatcher()), parsed_of(1), owner=owner)
    single.complete(0, error)
    assert owner.endings == [error]


def test_outcomes_after_its_end_are_dropped() -> None:
    owner = FakeOwner()
    live = live_version(FakeBatcher())
    pending = pending_of(live, parsed_of(1), owner=owner)
    late = DeadlineExceeded.of("m")
    pending.end(late)
    pending.complete(0, ANSWER)
    assert (owner.endings, live.pins) == ([late], 0)


def test_it_is_abandoned_once_and_without_a_reply() -> None:
    owner = FakeOwner()
    live = live_version(FakeBatcher())
    pending = pending_of(live, parsed_of(1), owner=owner)
    assert pending.abandon()
    assert not pending.abandon()
    pending.complete(0, ANSWER)
    assert (owner.endings, live.pins) == ([], 0)


def test_a_request_that_has_ended_cannot_be_abandoned() -> None:
    pending = pending_of(live_version(FakeBatcher()), parsed_of(1))
    pending.complete(0, ANSWER)
    assert not pending.abandon()


def test_the_version_is_released_even_if_the_reply_fails() -> None:
    class Broken(FakeOwner):
        def ended(self, *_: object) -> None:
            raise ZeroDivisionError

    live = live_version(FakeBatcher())
    pending = pending_of(live, parsed_of(1), owner=Broken())
    try:
        pending.complete(0, ANSWER)
    except ZeroDivisionError:
        assert live.pins == 0
    else:
        raise AssertionError("the bug was hidden")


def test_replies_say_where_the_answers_are_from() -> None:
    live = live_version(FakeBatcher())
    stored = pending_of(live, parsed_of(1))
    collapsed = pending_of(live, parsed_of(1))
    collapsed.collapsed = 1
    fetched = pending_of(live, parsed_of(1))
    partial = pending_of(live, parsed_of(1, 2), [ANSWER, None])
    uncached = pending_of(live, ParsedRequest(parsed_of(1).rows, [], False))
    uncached.detail = "no-datastore"
    fetched.complete(0, Hit(ANSWER, "L2"))
    for pending, place in ((stored, 0), (collapsed, 0), (partial, 1), (uncached, 0)):
        pending.complete(place, ANSWER)
    for pending, status in (
        (stored, "gomlx; fwd=miss; stored"),
        (collapsed, "gomlx; fwd=miss; collapsed"),
        (fetched, "gomlx; hit; detail=L2"),
        (partial, 'gomlx; fwd=partial; stored; detail="rows=2,hits=1"'),
        (uncached, "gomlx; fwd=bypass; detail=no-datastore"),
    ):
        assert pending.reply(0.25).cache_status == status
    reply = partial.reply(0.25)
    prefix = b'{"status":"ok","dictHash":7,"serviceTimeMcs":250000,"data":'
    assert reply.body == prefix + b"[" + ANSWER + b"," + ANSWER + b"]}"
    assert (reply.status, reply.version) == (200, DIGEST)
