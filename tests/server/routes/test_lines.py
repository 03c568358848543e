"""A stream's body is split into lines, and each reply becomes one."""

import json

import pytest

from gomlx.errors import TooLarge
from gomlx.server.body import BodyBudget
from gomlx.server.predict.reply import Reply
from gomlx.server.routes.lines import LineSplitter, as_line


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_lines_do_not_depend_on_how_chunks_arrive(size: int) -> None:
    splitter = LineSplitter(5, BodyBudget(100))
    body = b"ab\n\n1234\r\nlast"
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    lines = [line for chunk in chunks for line in splitter.split(chunk)]
    assert [*lines, splitter.last()] == [b"ab", b"", b"1234\r", b"last"]


@pytest.mark.parametrize("chunks", [[b"12345\n"], [b"123", b"45\n"], [b"12345"]])
def test_a_line_over_the_limit_is_too_large(chunks: list[bytes]) -> None:
    splitter = LineSplitter(4, BodyBudget(100))
    with pytest.raises(TooLarge, match="larger than 4 bytes"):
        for chunk in chunks:
            assert not [*splitter.split(chunk)]


def test_a_line_has_no_line_breaks() -> None:
    reply = Reply(200, b'{"data":{\n"y":\n1}}', 'a; detail="rows=1"', "v")
    (line,) = as_line(reply).splitlines()
    expected = {"data": {"y": 1}, "version": "v", "cacheStatus": 'a; detail="rows=1"'}
    assert json.loads(line) == expected
