"""Heads with an id: what is taken for one, and that no other field is lost."""

from dataclasses import replace
from random import Random

import pytest

from gomlx.server.http.head import Head
from gomlx.server.http.ids.field import REQUEST_ID, RequestIds
from gomlx.server.http.ids.heads import IdentifiedHeads, IdentifiedReader
from gomlx.server.recording.heads import RecordedHead, Recording, TracingHeadParser
from tests.server.http.conftest import LIMITS
from tests.server.test_recording import Recorder

EVAL = b"/v1/api/model/m/eval"
PLAIN = b"POST /v1/api/model/m/eval HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n"
HEAD = Head("m", None, 3, "", 5.0)
UUID = b"123e4567-e89b-12d3-a456-426614174000"
FRESH = 32  # digits


def heads(makes: bool = False) -> IdentifiedHeads:
    parser = TracingHeadParser({EVAL: "m"}, 1000, 5.0)
    parser.unusual |= {REQUEST_ID}
    return IdentifiedHeads(parser, RequestIds(makes, Random(1)))


def with_field(field: bytes) -> bytes:
    return PLAIN.replace(b"Content-Length", field + b"\r\nContent-Length")


def parsed(made: IdentifiedHeads, head: bytes) -> Head | None:
    """What a reader makes of a head."""
    short = made.short(head) or made(head)
    if short is not None:
        return short
    made.short_for(head)
    return made.read(head)


@pytest.mark.parametrize(
    "name", [b"X-Request-Id: ", b"x-request-id:", b"X-REQUEST-ID:\t "]
)
@pytest.mark.parametrize("value", [UUID, b"7", b"a b", b"x" * 128, b'{"a":"<&>"}'])
def test_an_id_is_taken_as_it_is(name: bytes, value: bytes) -> None:
    made = heads()
    for _ in range(2):
        assert parsed(made, with_field(name + value)) == HEAD
        assert made.request_id == value
    assert parsed(made, with_field(name + b" \t" + value + b" ")) == HEAD
    assert made.request_id == value


@pytest.mark.parametrize("value", [b"", b"x" * 129, b"caf\xc3\xa9", b"a\tb", b" "])
def test_one_that_cannot_be_an_id_is_replaced(value: bytes) -> None:
    made = heads()
    found = set()
    for _ in range(2):
        assert parsed(made, with_field(b"X-Request-Id: " + value)) == HEAD
        assert len(made.request_id) == FRESH
        assert made.request_id.isalnum()
        found.add(made.request_id)
    assert len(found) == 2


def test_a_request_without_an_id_has_not_that_of_the_one_before() -> None:
    made = heads()
    assert parsed(made, with_field(b"X-Request-Id: a")) == HEAD
    assert parsed(made, PLAIN) == HEAD
    assert made.request_id == b""


def test_a_request_without_an_id_gets_one_if_they_are_made() -> None:
    made = heads(makes=True)
    found = set()
    for _ in range(3):
        assert parsed(made, PLAIN) == HEAD
        found.add(made.request_id)
    assert len(found) == 3
    assert {len(one) for one in found} == {FRESH}


def test_two_workers_make_different_ids() -> None:
    assert RequestIds(True).fresh() != RequestIds(True).fresh()


def test_other_lengths_and_hosts_are_other_heads() -> None:
    made = heads()
    for length in (3, 30, 300):
        head = with_field(b"X-Request-Id: a").replace(b": 3", b": %d" % length)
        assert parsed(made, head) == replace(HEAD, length=length)


@pytest.mark.parametrize(
    "field",
    [
        b"X-Request-Id: a\r\nTransfer-Encoding: chunked",
        b"X-Request-Id: a\nTransfer-Encoding: chunked",
        b"X-Request-Id: a\rTransfer-Encoding: chunked",
        b"X-Request-Id: a\r\n folded",
        b"X-Request-Id: a\x00b",
        b"X-Request-Id: a\r\nX-Request-Id: b",
        b"X-Request-Id : a",
        b"Expect: 100-continue\r\nX-Request-Id: a",
    ],
)
def test_what_is_unusual_beside_it_is_seen(field: bytes) -> None:
    """It goes to the other parser as a whole, malformed or not."""
    for before in (PLAIN, with_field(b"X-Request-Id: a")):
        made = heads()
        parsed(made, before)
        assert parsed(made, with_field(field)) is None


def request(called: bytes, body: bytes, host: bytes = b"Host: x") -> bytes:
    head = with_field(b"X-Request-Id: " + called).replace(b"Host: x", host)
    return head + body


def test_requests_of_one_size_are_read_alike() -> None:
    made = heads()
    reader = IdentifiedReader(made, LIMITS)
    for n in range(100, 120):
        assert reader.read_one(request(b"a-%d" % n, b"%d" % n)) == (HEAD, b"%d" % n)
        assert made.request_id == b"a-%d" % n
    for size in range(1, 30):  # more sizes than are kept
        called = b"x" * size
        for _ in range(2):
            assert reader.read_one(request(called, b"{1}")) == (HEAD, b"{1}")
            assert made.request_id == called


@pytest.mark.parametrize(
    "other",
    [
        request(b"a-1", b"{1}", b"Hast: x"),
        request(b"a\r1", b"{1}"),
        request(b"a\n1", b"{1}"),
        request(b"\r\nx", b"{1}"),
        request(b"a 1", b"{1}"),  # which is read slowly
        request(b"   ", b"{1}"),
        request(b"a-1", b"{1}").replace(b": 3", b": 4"),
        request(b"a-1", b"{1}").replace(b"m/eval", b"n/eval"),
        request(b"a-1", b"{1}").replace(b"\r\n\r\n{1}", b"\r\nX-:\r\n"),
    ],
)
def test_another_request_of_the_same_size_is_not(other: bytes) -> None:
    reader = IdentifiedReader(heads(), LIMITS)
    usual = request(b"a-0", b"{1}")
    assert len(other) == len(usual)
    assert reader.read_one(usual) == (HEAD, b"{1}")
    assert reader.read_one(usual) == (HEAD, b"{1}")
    assert reader.read_one(other) is None
    assert reader.read_one(usual) == (HEAD, b"{1}")


def test_what_was_read_is_forgotten_with_all_heads() -> None:
    made = heads()
    reader = IdentifiedReader(made, LIMITS)
    usual = request(b"a-0", b"{1}")
    assert reader.read_one(usual) == (HEAD, b"{1}")
    made.parser.restrict(lambda model, token, names: token is not None, None)
    assert reader.read_one(usual) is None


def test_a_traceparent_beside_it_is_looked_at_each_time() -> None:
    parser = TracingHeadParser({EVAL: "m"}, 1000, 5.0)
    parser.unusual |= {REQUEST_ID}
    parser.record(Recording(Recorder()))
    made = IdentifiedHeads(parser, RequestIds(False))
    reader = IdentifiedReader(made, LIMITS)
    field = b"X-Request-Id: a-1\r\ntraceparent: 00-%032d-%016d-0%d"
    kinds = []
    for n, sampled in enumerate((0, 0, 1, 0, 1)):
        reader.receive(with_field(field % (n + 1, n + 1, sampled)) + b"{1}")
        event = reader.next_event()
        assert isinstance(event, tuple)
        assert event[1] == b"{1}"
        assert made.request_id == b"a-1"
        kinds.append(type(event[0]))
    assert kinds == [Head, Head, RecordedHead, Head, RecordedHead]
    short = with_field(field % (1, 1, 0)) + b"{1}"
    assert reader.read_one(short) == (HEAD, b"{1}")
    assert reader.read_one(short.replace(b"-00\r", b"-01\r")) is None
