"""A request is for a hot route over HTTP/2 where it is over HTTP/1.1, and alike."""

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gomlx.errors import Overloaded
from gomlx.server.http.head import Head
from gomlx.server.http.http2.fields import FieldsParser, date_of, response_fields
from gomlx.server.http.response import response
from gomlx.server.predict.reply import Reply, refusal
from gomlx.server.recording.heads import TracingHeadParser

ROUTES = {
    b"/v1/api/model/m/eval": "m",
    b"/v1/api/model/m/eval?signature=s": "m:s",
    b"/v1/api/model/my.model/eval": "my.model",
}
TARGETS = [
    b"/v1/api/model/m/eval",
    b"/v1/api/model/m/eval?x=1",
    b"/v1/api/model/m/eval?signature=s",
    b"/v1/api/model/m/eval?signature=s&x=1",
    b"/v1/api/model/m/eval?x=%zz",
    b"/v1/api/model/my%2emodel/eval?x=1",
    b"/v1/api/model/%zz/eval?x=1",
    b"/v1/api/model/n/eval?x=1",
    b"/livez",
]
HEADERS = [
    (b"content-type", b"application/json"),
    (b"content-type", b"text/json"),
    (b"content-encoding", b"gzip"),
    (b"content-length", b"0"),
    (b"content-length", b"7"),
    (b"content-length", b"1001"),
    (b"expect", b"100-continue"),
    (b"origin", b"https://shop.example"),
    (b"request-timeout-ms", b"250"),
    (b"request-timeout-ms", b"0"),
    (b"request-timeout-ms", b"soon"),
    (b"x-large", b"y" * 300),
    (b"x-empty", b""),
]
HOSTS = [b"h", b"example.org:80", b"[::1]:8", b"", b"a b", b"me@h"]
LINES = b"date: Sat, 28 Nov 2026 14:44:34 GMT\r\naccess-control-allow-origin: *\r\n"


@given(
    st.sampled_from([b"GET", b"POST", b"PUT", b"HEAD"]),
    st.sampled_from(TARGETS),
    st.sampled_from(HOSTS),
    st.lists(st.sampled_from(HEADERS), max_size=4, unique_by=lambda one: one),
    st.booleans(),
)
def test_both_protocols_decide_alike(
    method: bytes,
    target: bytes,
    host: bytes,
    headers: list[tuple[bytes, bytes]],
    is_origin_usual: bool,
) -> None:
    names = [name for name, _ in headers]
    if names.count(b"content-length") > 1:
        return  # the engine refuses it
    parser = TracingHeadParser(ROUTES, 1000, 5, is_origin_usual)
    lines = [b"%b %b HTTP/1.1" % (method, target), b"host: " + host]
    lines += [b"%b: %b" % pair for pair in headers]
    expected = parser(b"\r\n".join([*lines, b"", b""]))
    pseudo = {b":method": method, b":path": target, b":scheme": b"http"}
    fields = (*pseudo.items(), (b":authority", host), *headers)
    parse = FieldsParser(parser, 2000)
    for _ in range(2):  # the second time it remembers
        assert parse(fields) == expected


def test_what_is_remembered_is_bounded() -> None:
    parse = FieldsParser(TracingHeadParser(ROUTES, 1000, 5), 10_000)
    for n in range(3000):
        target = b"/v1/api/model/m/eval?x=%d" % n
        head = parse(((b":method", b"GET"), (b":path", target)))
        assert isinstance(head, Head)
        assert head.query == f"x={n}"
        large = ((b":method", b"GET"), (b":path", target), (b"x", b"y" * 2000))
        assert parse(large) == replace(head)


def reply_of(kind: str) -> Reply:
    if kind == "answered":
        return Reply(200, b'{"data":1}', "gomlx; hit; detail=L1", "abc")
    return refusal(Overloaded("m", 1)) if kind == "refused" else Reply(404, b"{}")


def test_responses_have_the_fields_of_http_1() -> None:
    for kind in ("answered", "refused", "unknown"):
        reply = reply_of(kind)
        head = response(reply, LINES, "").partition(b"\r\n\r\n")[0]
        status, *lines = head.split(b"\r\n")
        expected: list[Any] = [(b":status", status.split()[1])]
        expected += [tuple(line.split(b": ", 1)) for line in lines]
        assert response_fields(reply, LINES) == expected
    assert date_of(LINES) == (b"date", b"Sat, 28 Nov 2026 14:44:34 GMT")


def test_who_is_admitted_is_kept_with_the_fields_until_that_changes() -> None:
    tokens = {"Bearer one"}
    parser = TracingHeadParser(ROUTES, 1000, 5)
    parser.restrict(lambda model, given, names: given in tokens, None)
    parse = FieldsParser(parser, 2000)
    start = ((b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"x"))
    path = next(iter(ROUTES)) + b"?a=1"
    known, other = (
        (*start, (b":path", path), (b"authorization", token))
        for token in (b"Bearer one", b"Bearer two")
    )
    assert parse(known)
    assert parse(known) is parse(known)
    assert parse(other) is None
    assert parse((*start, (b":path", path))) is None
    tokens.clear()
    parser.forget()
    assert parse(known) is None
