"""What the head of a request says."""

import pytest

from gomlx.server.http.head import Head, HeadParser, may_begin_hot_request
from tests.server.http.messages import EVAL, OTHERS, post

PARSE = HeadParser({EVAL: "m"}, 1000, 5.0)


def head_of(request: bytes) -> bytes:
    head, end, _ = request.partition(b"\r\n\r\n")
    return head + end


def test_a_post() -> None:
    assert PARSE(head_of(post(b"12345"))) == Head("m", None, 5, True, 5.0)


def test_a_get() -> None:
    head = b"GET %b?x=1&y=%%20 HTTP/1.1\r\nHost: h\r\n\r\n" % EVAL
    assert PARSE(head) == Head("m", "x=1&y=%20", 0, True, 5.0)


@pytest.mark.parametrize("value", [b"close", b"Close", b"x, close"])
def test_a_request_that_closes(value: bytes) -> None:
    head = PARSE(head_of(post(b"", b"connection: " + value)))
    assert head
    assert not head.keeps_alive


@pytest.mark.parametrize(("milliseconds", "seconds"), [(20, 0.02), (9000, 5.0)])
def test_a_request_with_a_timeout(milliseconds: int, seconds: float) -> None:
    timeout = b"request-timeout-ms: %d" % milliseconds
    head = PARSE(head_of(post(b"", timeout)))
    assert head
    assert head.timeout_seconds == seconds


@pytest.mark.parametrize("what", OTHERS)
def test_what_is_not_ours(what: str) -> None:
    assert PARSE(head_of(OTHERS[what])) is None


def test_short_heads_are_parsed_once() -> None:
    parse = HeadParser({EVAL: "m"}, 1000, 5.0)
    short = head_of(post(b"", b"x: y"))
    assert parse(short) is parse(bytes(bytearray(short)))
    long = head_of(post(b"", b"x: " + b"y" * 1024))
    assert parse(long) == parse(long)
    assert parse(long) is not parse(long)


def test_every_beginning_of_a_hot_request_may_be_one() -> None:
    request = post(b"12345")
    assert all(may_begin_hot_request(request[:i]) for i in range(len(request)))
    assert not may_begin_hot_request(b"GET /v1/api/models")
