"""What the head of a request says."""

import pytest

from gomlx.server.http.head import Head, HeadParser, may_begin_hot_request
from tests.server.http.messages import EVAL, OTHERS, post

PARSE = HeadParser({EVAL: "m"}, 1000, 5.0)


def head_of(request: bytes) -> bytes:
    head, end, _ = request.partition(b"\r\n\r\n")
    return head + end


def test_a_post() -> None:
    assert PARSE(head_of(post(b"12345"))) == Head("m", None, 5, "", 5.0)


def test_a_get() -> None:
    head = b"GET %b?x=1&y=%%20 HTTP/1.1\r\nHost: h\r\n\r\n" % EVAL
    assert PARSE(head) == Head("m", "x=1&y=%20", 0, "", 5.0)


@pytest.mark.parametrize("value", [b"close", b"Close", b"x, close"])
def test_a_request_that_closes(value: bytes) -> None:
    head = PARSE(head_of(post(b"", b"connection: " + value)))
    assert head
    assert head.connection == "close"


@pytest.mark.parametrize(
    ("headers", "connection"),
    [
        ([], "close"),
        ([b"Connection: Keep-Alive"], "keep-alive"),
        ([b"connection: keep-alive, close"], "close"),
        ([b"connection: close", b"connection: keep-alive"], "close"),
        ([b"host: h"], "close"),
    ],
)
def test_a_request_of_http_1_0(headers: list[bytes], connection: str) -> None:
    line = b"GET %b?x=1 HTTP/1.0" % EVAL
    head = PARSE(b"\r\n".join([line, *headers, b"", b""]))
    assert head == Head("m", "x=1", 0, connection, 5.0, True)


@pytest.mark.parametrize(("milliseconds", "seconds"), [(20, 0.02), (9000, 5.0)])
def test_a_request_with_a_timeout(milliseconds: int, seconds: float) -> None:
    timeout = b"request-timeout-ms: %d" % milliseconds
    head = PARSE(head_of(post(b"", timeout)))
    assert head
    assert head.timeout_seconds == seconds


def test_a_signature_in_the_query() -> None:
    parse = HeadParser({EVAL: "m", EVAL + b"?signature=s": "m:s"}, 1000, 5.0)
    rest = b" HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"
    post = parse(b"POST " + EVAL + b"?signature=s" + rest)
    assert post
    assert post.model == "m:s"
    # What else a query may say of the signature is for the route over Falcon.
    assert parse(b"POST " + EVAL + b"?signature=t" + rest) is None
    assert parse(b"GET " + EVAL + b"?x=1&signature=s" + rest) is None


@pytest.mark.parametrize("what", OTHERS)
def test_what_is_not_ours(what: str) -> None:
    assert PARSE(head_of(OTHERS[what])) is None


@pytest.mark.parametrize(
    "path", [b"/v1/api/model/%6d/eval", b"/v1/%61pi/model/m/ev%61l"]
)
def test_a_path_with_escapes(path: bytes) -> None:
    assert PARSE(head_of(post(b"12345", path=path))) == PARSE(head_of(post(b"12345")))


@pytest.mark.parametrize(
    "path",
    [b"/v1/api/model/m%2Feval", b"/v1/api/model/%6/eval", b"/v1/api/model/%ff/eval"],
)
def test_a_path_that_is_none_of_ours(path: bytes) -> None:
    assert PARSE(head_of(post(b"12345", path=path))) is None


@pytest.mark.parametrize("host", [b"h", b"a.b:80", b"[::1]:8", b"%61", b""])
def test_a_host(host: bytes) -> None:
    assert PARSE(b"GET %b?x=1 HTTP/1.1\r\nHost: %b\r\n\r\n" % (EVAL, host))


@pytest.mark.parametrize(
    "host", [b"a b", b"a/b", b"a@b", b"h:x", b"[::1", b"%6", b"\xff"]
)
def test_what_is_no_host(host: bytes) -> None:
    assert not PARSE(b"GET %b?x=1 HTTP/1.1\r\nHost: %b\r\n\r\n" % (EVAL, host))


def test_an_origin_is_unusual_only_where_responses_depend_on_it() -> None:
    head = head_of(post(b"12345", b"Origin: https://shop.example"))
    assert PARSE(head)
    assert not HeadParser({EVAL: "m"}, 1000, 5.0, is_origin_usual=False)(head)


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


def test_who_is_admitted_is_kept_with_the_head_until_that_changes() -> None:
    tokens = {"Bearer one"}

    def admits(model: str, authorization: str | None, names: frozenset[str]) -> bool:
        return model == "m" and (authorization in tokens or "CN=batch" in names)

    parse = HeadParser({EVAL: "m"}, 1000, 5.0)
    parse.restrict(admits, frozenset({"CN=batch"}).intersection)
    certified = parse.certified(frozenset({"CN=batch", "O=Ours"}))
    assert parse.certified(frozenset({"CN=other", "O=Ours"})) is parse
    assert parse.certified(frozenset({"CN=batch", "O=Theirs"})) is certified
    start = b"POST " + EVAL + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
    one, two, no = (
        start + line + b"\r\n"
        for line in (
            b"Authorization: Bearer one\r\n",
            b"authorization: Bearer two\r\n",
            b"",
        )
    )
    twice = start + b"Authorization: Bearer one\r\n" * 2 + b"\r\n"
    assert [bool(parse(head)) for head in (one, two, no, twice)] == [1, 0, 0, 0]
    assert [bool(certified(head)) for head in (one, two, no, twice)] == [1, 1, 1, 0]
    assert parse(one) is parse(one)
    tokens.clear()
    tokens.add("Bearer two")
    parse.forget()
    assert [bool(parse(head)) for head in (one, two, no)] == [0, 1, 0]
    assert [bool(certified(head)) for head in (one, two, no)] == [1, 1, 1]
