"""The reader, without a socket: bytes in, events out."""

from collections.abc import Callable, Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gomlx.server.body import LARGE_BYTES, BodyBudget, BodyParts, TooManyBodies
from gomlx.server.http.head import HeadParser
from gomlx.server.http.limits import HttpLimits
from gomlx.server.http.reader import (
    NEED_DATA,
    NOT_OURS,
    CompleteRequest,
    Event,
    Reader,
    ReaderState,
)
from gomlx.server.http.response import HeadTooLarge
from tests.server.http.messages import EVAL, LARGE_HEADS, OTHERS, post

HEADER_BYTES = 500
BODIES_BYTES = 1 << 20
BODY_BYTES = 1000
GET = b"GET %b?x=1 HTTP/1.1\r\nhost: h\r\n\r\n" % EVAL
POST = post(b'{"x":1}')


def new_reader(header_bytes: int = HEADER_BYTES) -> Reader:
    limits = HttpLimits(BODY_BYTES, header_bytes, 5, 5, 5, 20, BodyBudget(BODIES_BYTES))
    return Reader(HeadParser({EVAL: "m"}, BODY_BYTES, 5), limits)


def read(reader: Reader, *parts: bytes) -> tuple[list[CompleteRequest], Event]:
    """Return the requests in these parts, and the event that comes after them."""
    requests = []
    event: Event = NEED_DATA
    for part in parts:
        reader.receive(part)
        while isinstance(event := reader.next_event(), tuple):
            requests.append(event)
    return requests, event


def read_as_connections_do(
    reader: Reader, *parts: bytes
) -> tuple[list[CompleteRequest], Event]:
    """As `read`, with the short cut for parts that are one whole request."""
    requests = []
    event: Event = NEED_DATA
    for part in parts:
        if not reader.buffer and (request := reader.read_one(part)):
            requests.append(request)
            event = NEED_DATA
        else:
            more, event = read(reader, part)
            requests += more
    return requests, event


Read = Callable[..., tuple[list[CompleteRequest], Event]]
READS: list[Read] = [read, read_as_connections_do]


def texts(requests: Iterable[CompleteRequest]) -> list[bytes | str | BodyParts]:
    return [body if head.query is None else head.query for head, body in requests]


def one_by_one(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def parts_of(data: bytes, places: Iterable[int]) -> list[bytes]:
    cuts = sorted({min(place, len(data)) for place in places})
    return [data[i:j] for i, j in pairwise([0, *cuts, len(data)])]


def test_a_post() -> None:
    for read_in_parts in READS:
        (((head, body),), event) = read_in_parts(new_reader(), POST)
        assert (head.model, head.query, head.length) == ("m", None, 7)
        assert (head.connection, head.timeout_seconds) == ("", 5)
        assert body == b'{"x":1}'
        assert event is NEED_DATA


def test_a_get() -> None:
    for read_in_parts in READS:
        (((head, body),), event) = read_in_parts(new_reader(), GET)
        assert (head.query, head.length, body) == ("x=1", 0, b"")
        assert event is NEED_DATA


@pytest.mark.parametrize("request_", [POST, GET, post(b"")], ids=["post", "get", "no"])
def test_every_way_to_cut_a_request_in_two(request_: bytes) -> None:
    whole = read(new_reader(), request_)
    for read_in_parts in READS:
        for i in range(len(request_) + 1):
            reader = new_reader()
            assert read_in_parts(reader, request_[:i], request_[i:]) == whole
            assert reader.buffer == b""


def test_byte_by_byte() -> None:
    reader = new_reader()
    for byte in one_by_one(POST[:-1]):
        assert read(reader, byte) == ([], NEED_DATA)
    assert texts(read(reader, POST[-1:])[0]) == [b'{"x":1}']


def test_the_state_says_what_is_missing() -> None:
    reader = new_reader()
    head, end, body = POST.partition(b"\r\n\r\n")
    states = []
    for part in (b"", head, end, body[:-1], body[-1:]):
        read(reader, part)
        states.append(reader.state)
    assert [state.name for state in states] == ["HEAD", "HEAD", "BODY", "BODY", "HEAD"]


def test_pipelined_requests_come_out_one_by_one() -> None:
    reader = new_reader()
    reader.receive(POST + GET + POST[:-1])
    assert reader.rest == POST + GET + POST[:-1]
    assert isinstance(first := reader.next_event(), tuple)
    assert reader.rest == GET + POST[:-1]
    assert isinstance(second := reader.next_event(), tuple)
    assert texts([first, second]) == [b'{"x":1}', "x=1"]
    assert reader.rest == POST[:-1]
    assert reader.next_event() is NEED_DATA
    assert texts(read(reader, POST[-1:])[0]) == [b'{"x":1}']
    assert reader.rest == b""


REQUESTS = st.lists(
    st.binary(max_size=40).map(post)
    | st.from_regex(rb"[a-z]{1,5}=[0-9]{1,5}", fullmatch=True).map(
        lambda query: b"GET %b?%b HTTP/1.1\r\nhost: h\r\n\r\n" % (EVAL, query)
    ),
    max_size=6,
)
PLACES = st.lists(st.integers(0, 400), max_size=8)


@given(REQUESTS, PLACES, st.sampled_from(READS))
def test_requests_do_not_depend_on_how_they_are_cut(
    requests: list[bytes], places: list[int], read_in_parts: Read
) -> None:
    stream = b"".join(requests)
    found, event = read_in_parts(new_reader(), *parts_of(stream, places))
    alone = [request for one in requests for request in read(new_reader(), one)[0]]
    assert found == alone
    assert len(found) == len(requests)
    assert event is NEED_DATA


@given(REQUESTS, st.binary(max_size=60), PLACES)
def test_whatever_follows_does_not_depend_on_how_it_is_cut(
    requests: list[bytes], damage: bytes, places: list[int]
) -> None:
    stream = b"".join(requests) + damage + POST
    whole = read(new_reader(), stream)
    reader = new_reader()
    assert read(reader, *parts_of(stream, places)) == whole
    assert stream.endswith(reader.rest)


@given(REQUESTS, st.binary(max_size=3))
def test_the_short_cut_reads_exactly_one_request(
    requests: list[bytes], more: bytes
) -> None:
    data = b"".join(requests) + more
    reader = new_reader()
    found, _ = read(reader, data)
    is_one = len(found) == 1 and reader.rest == b""
    assert new_reader().read_one(data) == (found[0] if is_one else None)


def test_a_short_cut_leaves_other_bytes_alone() -> None:
    reader = new_reader(2000)
    large_head = post(b'{"x":1}', b"x: " + b"y" * 1000)
    for data in (b"", POST[:-1], POST + GET, POST + b"x", large_head, b"\r\n\r\n"):
        assert reader.read_one(data) is None
        assert reader.buffer == b""
    assert texts(read(reader, large_head)[0]) == [b'{"x":1}']


@pytest.mark.parametrize("what", OTHERS)
def test_what_is_not_ours_is_left_whole(what: str) -> None:
    other = OTHERS[what]
    for i in range(len(other) + 1):
        reader = new_reader()
        requests, event = read(reader, POST + other[:i], other[i:])
        assert texts(requests) == [b'{"x":1}']
        assert event is NOT_OURS
        assert reader.rest == other
        assert reader.state is ReaderState.REST


def test_what_is_not_ours_stays_so() -> None:
    reader = new_reader()
    for byte in one_by_one(b"GET /livez HTTP/1.1\r\nhost: h\r\n\r\n" + POST):
        _, event = read(reader, byte)
    assert event is NOT_OURS
    assert reader.rest.endswith(POST)


@pytest.mark.parametrize(
    ("start", "event"),
    [
        (b"", NEED_DATA),
        (b"P", NEED_DATA),
        (b"POST /v1/api/mod", NEED_DATA),
        (b"GET /v1/api/model/other", NEED_DATA),
        (b"p", NOT_OURS),
        (b"PRI", NOT_OURS),
        (b"GET /l", NOT_OURS),
        (b"\r\n", NOT_OURS),
        (b"\x16\x03\x01", NOT_OURS),
    ],
)
def test_what_is_not_ours_is_seen_at_its_first_bytes(
    start: bytes, event: Event
) -> None:
    assert read(new_reader(), start) == ([], event)


@pytest.mark.parametrize("what", LARGE_HEADS)
def test_heads_over_the_limit(what: str) -> None:
    reader = new_reader()
    requests, event = read(reader, POST, LARGE_HEADS[what])
    assert texts(requests) == [b'{"x":1}']
    assert isinstance(event, HeadTooLarge)
    assert "500 bytes" in str(event)
    assert reader.state is ReaderState.FAILED
    reader.receive(POST)
    assert isinstance(reader.next_event(), HeadTooLarge)


def test_a_head_in_pieces_is_too_large_once_it_is() -> None:
    reader = new_reader()
    head = b"POST %b HTTP/1.1\r\nx: " % EVAL
    assert read(reader, head.ljust(HEADER_BYTES, b"y")) == ([], NEED_DATA)
    _, event = read(reader, b"y")
    assert isinstance(event, HeadTooLarge)


@pytest.mark.parametrize("limit", [400, 1100])
@pytest.mark.parametrize("size", [0, 1])
def test_the_largest_head(limit: int, size: int) -> None:
    """Heads are kept up to 1,024 bytes: the limit is the same on both sides of that."""
    start = post(b"", b"x: ")[: -len(b"\r\n\r\n")]
    head = start.ljust(limit + size - 4, b"y") + b"\r\n\r\n"
    for read_in_parts in READS:
        requests, event = read_in_parts(new_reader(limit), head)
        assert len(requests) == 1 - size
        assert isinstance(event, HeadTooLarge) == bool(size)


def test_a_body_may_be_as_large_as_the_limit() -> None:
    body = b" " * BODY_BYTES
    assert texts(read(new_reader(), post(body))[0]) == [body]
    assert read(new_reader(), post(body + b" "))[1] is NOT_OURS


def test_full_is_more_than_the_largest_request() -> None:
    reader = new_reader()
    reader.receive(POST * 3)
    reader.receive(b" " * (HEADER_BYTES + BODY_BYTES - 3 * len(POST)))
    assert not reader.is_full
    reader.receive(b" ")
    assert reader.is_full
    reader.next_event()
    assert not reader.is_full  # what was returned does not count


def test_an_incomplete_request_never_fills_the_buffer() -> None:
    start = post(b" " * BODY_BYTES, b"x: ")
    head_bytes = len(start) - BODY_BYTES
    fill = b"x: " + b"y" * (HEADER_BYTES - head_bytes)
    request = post(b" " * BODY_BYTES, fill)
    assert len(request) == HEADER_BYTES + BODY_BYTES
    reader = new_reader()
    for byte in one_by_one(request[:-1]):
        assert read(reader, byte) == ([], NEED_DATA)
        assert not reader.is_full
    assert len(read(reader, request[-1:])[0]) == 1
    assert reader.buffer == b""


def test_clearing_drops_what_is_buffered() -> None:
    reader = new_reader()
    read(reader, POST[:-1])
    reader.clear()
    assert (reader.buffer, reader.state) == (b"", ReaderState.HEAD)
    assert texts(read(reader, GET)[0]) == ["x=1"]


@pytest.mark.parametrize("size", [1000, 30_000, 1 << 20])
def test_a_large_body_is_not_appended_to_the_buffer(size: int) -> None:
    """Each append would copy all that has arrived."""
    limits = HttpLimits(1 << 20, 500, 5, 5, 5, 20, BodyBudget(BODIES_BYTES))
    reader = Reader(HeadParser({EVAL: "m"}, 1 << 20, 5), limits)
    text = b"%0600000d" % 7
    data = post(text) + POST + GET[:-1]
    found = []
    for at in range(0, len(data), size):
        reader.receive(data[at : at + size])
        while isinstance(event := reader.next_event(), tuple):
            found.append(event[1])
        assert len(reader.buffer) < size + LARGE_BYTES
    large, small = found
    assert (large.joined() if isinstance(large, BodyParts) else large) == text
    assert small == b'{"x":1}'
    assert reader.rest == GET[:-1]


def test_bodies_over_the_limit_of_all() -> None:
    bodies = BodyBudget(100_000)
    limits = HttpLimits(1 << 20, 500, 5, 5, 5, 20, bodies)
    readers = [Reader(HeadParser({EVAL: "m"}, 1 << 20, 5), limits) for _ in range(2)]
    request = post(b" " * 80_000)
    first, second = [read(reader, request[:60_000]) for reader in readers]
    assert first == ([], NEED_DATA)
    assert isinstance(second[1], TooManyBodies)
    assert bodies.held < 60_000
    ((_, body),), _ = read(readers[0], request[60_000:])
    assert len(body) == 80_000
    assert second[1].retry_after


def test_bodies_that_come_in_parts_are_counted_until_they_are_whole() -> None:
    """Ten thousand connections would have as many times 32 KiB."""
    bodies = BodyBudget(50_000)
    limits = HttpLimits(1 << 20, 500, 5, 5, 5, 20, bodies)
    readers = [Reader(HeadParser({EVAL: "m"}, 1 << 20, 5), limits) for _ in range(3)]
    request = post(b" " * 30_000)
    assert read(readers[0], request[:-10]) == ([], NEED_DATA)
    assert 29_000 < bodies.held < 30_000
    assert isinstance(read(readers[1], request[:-10])[1], TooManyBodies)
    ((_, body),), _ = read(readers[0], request[-10:])
    assert body == b" " * 30_000
    assert bodies.held == 0
    ((_, body),), _ = read(readers[2], request)  # at once: it is parsed in this turn
    assert body == b" " * 30_000
