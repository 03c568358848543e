"""Heads with an id: what is taken for one, and that no other field is lost."""

from dataclasses import replace
from random import Random

import pytest

from gomlx.server.http.head import Head
from gomlx.server.http.ids.field import REQUEST_ID, RequestIds
from gomlx.server.http.ids.heads import IdentifiedHeads
from gomlx.server.recording.heads import TracingHeadParser

EVAL = b"/v1/api/model/m/eval"
PLAIN = b"POST /v1/api/model/m/eval HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n"
HEAD = Head("m", None, 3, "", 5.0)
UUID = b"123e4567-e89b-12d3-a456-426614174000"
FRESH = 32  # digits


def heads(makes: bool = False) -> IdentifiedHeads:
    parser = TracingHeadParser({EVAL: "m"}, 1000, 5.0)
    parser.unusual |= {REQUEST_ID}
    return IdentifiedHeads(parser.for_connection(), RequestIds(makes, Random(1)))


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
