"""Texts that come again are found, for two generations."""

from gomlx.server.predict.recent import RecentTexts


def test_a_generation_that_is_full_becomes_the_older_one() -> None:
    recent = RecentTexts[int](max_texts=2)
    for n in range(3):
        recent.remember(b"%d" % n, n)
    assert recent.newer == {b"2": 2}
    assert recent.older == {b"0": 0, b"1": 1}
    assert b"0" in recent
    assert b"2" in recent
    for n in range(3, 5):
        recent.remember(b"%d" % n, n)
    assert recent.newer == {b"4": 4}
    assert recent.older == {b"2": 2, b"3": 3}


def test_a_text_of_the_older_generation_can_be_remembered_again() -> None:
    recent = RecentTexts[int](max_texts=1)
    for text in (b"a", b"b", b"a"):
        recent.remember(text, 1)
    assert b"a" in recent.newer
    assert recent.older.keys() == {b"b"}


def test_long_texts_are_not_kept() -> None:
    recent = RecentTexts[int](max_length=3)
    recent.remember("abc", 1)
    recent.remember("abcd", 2)
    assert recent.newer == {"abc": 1}
    assert "abc" in recent
    assert "abcd" not in recent
