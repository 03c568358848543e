"""Which heads are those of recorded requests, and that no other field is lost."""

from dataclasses import replace
from random import Random

import pytest

from gomlx.server.http.head import Head
from gomlx.server.predict.request import Requester
from gomlx.server.recording.heads import (
    AnswersLines,
    RecordedHead,
    Recording,
    TracingHeadParser,
)
from gomlx.tracing.parent import Parent, sampled_parent

EVAL = b"/v1/api/model/m/eval"
PLAIN = b"POST /v1/api/model/m/eval HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n"
SAMPLED = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
UNSAMPLED = SAMPLED[:-1] + b"0"
PARENT = Parent(0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7)
HEAD = Head("m", None, 3, "", 5.0)


class Recorder:
    """Answers nothing."""

    def predict(self, name: str, requester: Requester, *_: object) -> None:
        raise AssertionError

    def stream(self, *_: object) -> AnswersLines:
        raise AssertionError

    async def close(self) -> None:
        raise AssertionError


def parser(recording: Recording | None = None) -> TracingHeadParser:
    made = TracingHeadParser({EVAL: "m"}, 1000, 5.0)
    if recording is not None:
        made.record(recording)
    return made


def with_field(field: bytes) -> bytes:
    return PLAIN.replace(b"Content-Length", field + b"\r\nContent-Length")


def parsed(made: TracingHeadParser, head: bytes) -> Head | None:
    """What a reader makes of a head, once it knows how they look."""
    heads = made.for_connection()
    short = heads.short_for(head) or heads.short
    return short(head) or heads(head) or heads.read(head)


@pytest.mark.parametrize(
    "name", [b"traceparent: ", b"TraceParent:", b"Traceparent:\t "]
)
@pytest.mark.parametrize("value", [SAMPLED, UNSAMPLED, b"nothing", b"", b"0" * 55])
def test_a_traceparent_changes_nothing_else(name: bytes, value: bytes) -> None:
    for _ in range(2):
        assert parsed(parser(), with_field(name + value)) == HEAD


def test_a_sampled_request_is_recorded() -> None:
    made = parser(Recording(Recorder()))
    head = parsed(made, with_field(b"traceparent: " + SAMPLED))
    assert isinstance(head, RecordedHead)
    assert head.start
    assert head.start.parent == PARENT
    assert replace(head, start=None) == RecordedHead("m", None, 3, "", 5.0)
    assert parsed(made, with_field(b"traceparent: " + UNSAMPLED)) == HEAD
    assert parsed(made, PLAIN) == HEAD


@pytest.mark.parametrize(
    "field",
    [
        b"traceparent: 00\r\nTransfer-Encoding: chunked",
        b"traceparent: 00\nTransfer-Encoding: chunked\nX: 123456789012345678901234",
        b"traceparent: " + b"0" * 20 + b"\r\nTransfer-Encoding: chunked\r\nX: 0",
        b"traceparent: " + b"0" * 27 + b"\x00" + b"0" * 27,
        b"traceparent: " + b"0" * 55 + b"\rX: 1",
        b"traceparent: " + UNSAMPLED + b"\r\ntraceparent: " + UNSAMPLED,
        b"traceparent: a b",
    ],
)
def test_no_other_field_is_taken_out(field: bytes) -> None:
    """What is unusual or malformed beside it goes to the other parser, as a whole."""
    for recording in (None, Recording(Recorder())):
        made = parser(recording)
        made.short_for(with_field(b"traceparent: " + UNSAMPLED))
        assert parsed(made, with_field(field)) is None


def test_heads_of_one_size_are_told_apart() -> None:
    made = parser(Recording(Recorder()))
    usual = with_field(b"traceparent: " + UNSAMPLED)
    hidden = b"0" * 26 + b"\r\nX: " + b"0" * 24
    others = {
        usual.replace(UNSAMPLED, SAMPLED): None,
        usual.replace(UNSAMPLED, UNSAMPLED.replace(b"4", b"5")): HEAD,
        usual.replace(UNSAMPLED, UNSAMPLED.replace(b"4", b"\r")): None,
        usual.replace(UNSAMPLED, hidden): None,
        usual.replace(b"Host", b"Hast"): None,
        usual.replace(b": 3", b": 4"): replace(HEAD, length=4),
        usual.replace(b"/m/", b"/n/"): None,
    }
    short = made.short_for(usual)
    assert short
    for other, head in others.items():
        assert len(other) == len(usual)
        for _ in range(2):
            assert short(usual) == HEAD
            assert short(other) == head
    made.configure(lambda model: False, 1000, 5.0)
    assert short(usual) is None


def test_chance_chooses_about_as_many_as_it_should() -> None:
    made = parser(Recording(Recorder(), 0.05, Random(1)))
    heads = [parsed(made, PLAIN) for _ in range(10_000)]
    chosen = sum(isinstance(head, RecordedHead) for head in heads)
    assert 400 < chosen < 600
    assert all(head is not None for head in heads)


def test_all_are_chosen_where_all_should_be() -> None:
    made = parser(Recording(Recorder(), 1.0))
    for _ in range(10):
        head = parsed(made, PLAIN)
        assert isinstance(head, RecordedHead)
        assert head.start
        assert head.start.parent is None


def test_a_traceparent_overrules_chance() -> None:
    made = parser(Recording(Recorder(), 1.0))
    head = parsed(made, with_field(b"traceparent: " + UNSAMPLED))
    assert head == HEAD


def test_a_route_that_is_added_is_found() -> None:
    made = parser()
    head = PLAIN.replace(b"/m/", b"/n/")
    assert parsed(made, head) is None
    made.add_route(EVAL.replace(b"/m/", b"/n/"), "n")
    assert parsed(made, head) == replace(HEAD, model="n")


@pytest.mark.parametrize(
    "value",
    [
        "",
        "00",
        SAMPLED.decode().upper(),
        SAMPLED.decode() + "-more",
        "ff" + SAMPLED.decode()[2:],
        "00-" + "0" * 32 + SAMPLED.decode()[35:],
        SAMPLED.decode()[:36] + "0" * 16 + "-01",
        UNSAMPLED.decode(),
    ],
)
def test_what_is_no_sampled_parent(value: str) -> None:
    assert sampled_parent(value) is None


def test_a_later_version_may_have_more() -> None:
    value = SAMPLED.decode()
    assert sampled_parent(value) == PARENT
    assert sampled_parent("01" + value[2:] + "-more") == PARENT
    assert sampled_parent(value[:-1] + "3") == PARENT
