"""The answers that are kept: for how long, how many, and after new settings."""

import pytest

from gomlx.client.answer import AnswerEntry, AnswerOrigin
from gomlx.client.local.kept_answers import KeptAnswers, KeptLimits, Lifetimes
from gomlx.errors import RunFailed

FETCHED = AnswerEntry(b'{"y":1.0}', {"y": 1.0}, AnswerOrigin("v", "model", False))
FAILED = AnswerEntry(b"", None, FETCHED.origin, error=RunFailed("no such row"))
LIMITS = KeptLimits(max_entries=100, max_bytes=100_000)


def kept(
    answer: float = 60.0, error: float = 1.0, limits: KeptLimits = LIMITS
) -> KeptAnswers:
    return KeptAnswers("v", Lifetimes(answer, error), limits, clock=lambda: 1000.0)


def test_answers_and_errors_have_their_own_lifetimes() -> None:
    answers = kept(answer=60.0, error=2.0)
    answers.store("good", FETCHED)
    answers.store("bad", FAILED)
    good = answers.get("good")
    bad = answers.get("bad")
    assert good and bad
    assert (good.expires_at, bad.expires_at) == (1060.0, 1002.0)
    assert (good.values, good.error) == ({"y": 1.0}, None)
    assert bad.error is FAILED.error


def test_a_kept_answer_is_local_and_cached() -> None:
    entry = kept().store("key", FETCHED)
    assert entry
    assert entry.origin == AnswerOrigin("v", "local", True)
    assert FETCHED.origin.tier == "model"


@pytest.mark.parametrize("fetched", [FETCHED, FAILED], ids=["answer", "error"])
def test_a_lifetime_of_zero_keeps_nothing(fetched: AnswerEntry) -> None:
    answers = kept(answer=0.0, error=0.0)
    assert answers.store("key", fetched) is None
    assert answers.get("key") is None
    assert answers.size() == (0, 0)


def test_the_number_of_entries_is_bounded() -> None:
    answers = kept(limits=KeptLimits(max_entries=10, max_bytes=10_000_000))
    for n in range(100):
        answers.store(n, FETCHED)
    assert answers.size()[0] == 10
    assert answers.get(99) and answers.get(90)
    assert answers.get(89) is None


def test_the_least_recently_used_makes_room() -> None:
    answers = kept(limits=KeptLimits(max_entries=3, max_bytes=3_000_000))
    for key in "abc":
        answers.store(key, FETCHED)
    answers.get("a")
    answers.store("d", FETCHED)
    assert [key for key in "abcd" if answers.get(key)] == ["a", "c", "d"]


def test_the_bytes_of_entries_and_keys_are_bounded() -> None:
    answers = kept(limits=KeptLimits(max_entries=1000, max_bytes=20_000))
    large = AnswerEntry(b"x" * 1000, None, FETCHED.origin)
    for n in range(50):
        answers.store((f"word-{n}", n), large)
    entries, size_bytes = answers.size()
    assert 5 <= entries <= 10
    assert size_bytes <= 20_000
    answers.store(("long" * 10_000,), FETCHED)  # as a whole it is too large
    assert answers.size()[0] == entries


def test_one_entry_may_have_two_keys() -> None:
    answers = kept()
    entry = answers.store(("a", 1.0), FETCHED)
    assert entry
    answers.insert(("a", 1), entry)
    answers.insert("digest", entry)
    assert answers.get("digest") is entry
    with pytest.raises(TypeError):
        answers.insert((["a"], 1), entry)


@pytest.mark.parametrize("seconds", [60.0, 600.0])
def test_entries_outlive_new_settings(seconds: float) -> None:
    older = kept(answer=60.0)
    older.store("key", FETCHED)
    newer = kept(answer=seconds)
    assert newer.adopt(older)
    assert newer.get("key") is older.get("key")
    newer.store("other", FETCHED)
    assert newer.size()[0] == older.size()[0] == 2


def test_entries_that_would_live_too_long_are_not_adopted() -> None:
    older = kept(answer=60.0)
    older.store("key", FETCHED)
    newer = kept(answer=59.0)
    assert not newer.adopt(older)
    assert newer.get("key") is None
