"""What waits for the end of a turn, without a socket and without an event loop."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gomlx.server.body import LARGE_BYTES
from gomlx.server.http.head import Head
from gomlx.server.http.turn import Turn
from gomlx.server.predict.reply import Reply
from gomlx.server.predict.request import WaitingRequest

REPLY = Reply(200, b"{}")


class Requester:
    """A connection with requests one after the other, and the answers to them."""

    def __init__(self, turn: Turn, model: str, *texts: bytes) -> None:
        self.head = Head(model, None, 0, "", 5.0)
        self.text: Any = b""
        self.arrived = 0.0
        self.timeout_seconds = 5.0
        self.request_id = ""
        self.pending: WaitingRequest | None = None
        self.unsent: list[bytes] = []
        self.sent: list[bytes] = []
        self.failures = 0
        self._turn = turn
        self._texts = list(texts)
        self.next()

    def next(self) -> None:
        if self._texts:
            self.text = self._texts.pop(0)
            self._turn.add(self)

    def reply(self, reply: Reply) -> None:
        self._turn.will_send(self.text, self)
        self.next()

    def fail(self) -> None:
        self.failures += 1

    def send(self) -> None:
        self.sent += self.unsent
        self.unsent = []


class Predictor:
    """Replies at once; notes the requests of each call, and what was sent before."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[Any]]] = []
        self.sent: list[int] = []
        self.abandoned: list[Any] = []
        self.broken = ""  # this model's requests raise
        self.recognized: set[bytes] = set()
        self.models = Models(self)

    def predict(self, model: str, requesters: Sequence[Any]) -> None:
        self.calls.append((model, [one.text for one in requesters]))
        self.sent += [len(one.sent) for one in requesters]
        if model == self.broken:
            raise RuntimeError("a bug")
        for requester in requesters:
            requester.reply(REPLY)

    def abandon(self, pending: object) -> None:
        self.abandoned.append(pending)

    def count_abandoned(self, model: str, elapsed: float) -> None:
        assert elapsed >= 0
        self.abandoned.append(model)


class Models(dict[str, "ModelPredictor"]):
    """Each model that is looked for."""

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        self._predictor = predictor

    def __missing__(self, name: str) -> "ModelPredictor":
        return ModelPredictor(self._predictor, name)


@dataclass
class ModelPredictor:
    """The part of the predictor for one model."""

    predictor: Predictor
    name: str

    def predict(self, requesters: Sequence[Any]) -> None:
        self.predictor.predict(self.name, requesters)

    def recognizes(self, text: bytes) -> bool:
        return text in self.predictor.recognized


class Site:
    """A turn, and the event loop that ends it."""

    def __init__(self) -> None:
        self.predictor = Predictor()
        stub: Any = self.predictor
        self.turn = Turn(stub, self._call_soon)
        self.scheduled: list[Callable[[], None]] = []

    def requester(self, model: str, *texts: bytes) -> Requester:
        return Requester(self.turn, model, *texts)

    def end_turn(self) -> None:
        (end,) = self.scheduled
        self.scheduled = []
        end()

    def _call_soon(self, callback: Callable[[], None]) -> None:
        self.scheduled.append(callback)


@pytest.fixture
def site() -> Site:
    return Site()


def test_the_requests_of_a_turn_are_predicted_together_by_model(site: Site) -> None:
    requesters = [
        site.requester(model, b"%d" % n) for n, model in enumerate(["m", "n", "m"])
    ]
    assert len({requester.arrived for requester in requesters}) == 1
    site.end_turn()
    assert site.predictor.calls == [("m", [b"0", b"2"]), ("n", [b"1"])]
    assert [requester.sent for requester in requesters] == [[b"0"], [b"1"], [b"2"]]
    assert site.turn.carried.requests == 3
    assert not site.scheduled


def test_requests_of_the_next_turn_arrive_later(site: Site) -> None:
    first = site.requester("m", b"1")
    site.end_turn()
    second = site.requester("m", b"2")
    assert second.arrived > first.arrived


def test_pipelined_requests_are_answered_in_one_turn_and_sent_once(site: Site) -> None:
    one = site.requester("m", b"1", b"2", b"3")
    other = site.requester("m", b"4")
    site.end_turn()
    assert site.predictor.calls == [("m", [b"1", b"4"]), ("m", [b"2"]), ("m", [b"3"])]
    assert site.predictor.sent == [0, 0, 0, 0]
    assert one.sent == [b"1", b"2", b"3"]
    assert other.sent == [b"4"]


def test_a_turn_answers_no_more_than_128_requests(site: Site) -> None:
    requesters = [site.requester("m", b"%d" % n) for n in range(300)]
    for answered in (128, 256, 300):
        site.end_turn()
        assert site.turn.carried.requests == answered
        assert sum(len(one.sent) for one in requesters) == answered
    assert not site.scheduled


def test_what_is_likely_to_hit_does_not_wait_behind_other_requests(site: Site) -> None:
    """But a quarter of each turn is for the others, in their order."""
    site.predictor.recognized = {b"hit"}
    others = [site.requester("m", b"%d" % n) for n in range(200)]
    hits = [site.requester("m", b"hit") for _ in range(100)]
    site.end_turn()
    assert [len(one.sent) for one in others] == [1] * 32 + [0] * 168
    assert [len(one.sent) for one in hits] == [1] * 96 + [0] * 4
    later = [site.requester("m", b"hit") for _ in range(20)]
    site.end_turn()
    assert all(one.sent for one in [*hits, *later])
    assert sum(len(one.sent) for one in others) == 32 + 104
    site.end_turn()
    assert all(one.sent for one in others)
    assert not site.scheduled


def test_a_turn_without_hits_is_for_the_others(site: Site) -> None:
    others = [site.requester("m", b"%d" % n) for n in range(150)]
    site.end_turn()
    assert [len(one.sent) for one in others] == [1] * 128 + [0] * 22


def test_a_pipeline_goes_on_in_the_next_turn(site: Site) -> None:
    requester = site.requester("m", *[b"%d" % n for n in range(200)])
    site.end_turn()
    assert len(requester.sent) == 128
    site.end_turn()
    assert requester.sent == [b"%d" % n for n in range(200)]


def test_a_turn_ends_once_it_has_answered_128_kib(site: Site) -> None:
    requesters = [site.requester("m", b" " * (1 << 14)) for _ in range(10)]
    site.end_turn()
    assert [len(one.sent) for one in requesters] == [1] * 8 + [0] * 2
    site.end_turn()
    assert [len(one.sent) for one in requesters] == [1] * 10


def test_short_texts_do_not_wait_for_long_ones(site: Site) -> None:
    """And one of the long ones at least is in every turn."""
    long = [site.requester("m", b" " * (LARGE_BYTES - 1)) for _ in range(6)]
    short = [site.requester("m", *[b"1"] * 1000) for _ in range(200)]
    site.end_turn()
    assert [len(one.sent) for one in long] == [1, 0, 0, 0, 0, 0]
    assert sum(len(one.sent) for one in short) == 127
    site.end_turn()
    assert sum(len(one.sent) for one in long) == 2
    assert sum(len(one.sent) for one in short) == 254
    del short[:]
    for _ in range(10):
        site.end_turn()
    assert [len(one.sent) for one in long] == [1] * 6


@given(st.lists(st.integers(0, LARGE_BYTES - 1), max_size=300))
def test_every_request_is_answered_once(sizes: list[int]) -> None:
    site = Site()
    requesters = [site.requester("m", b" " * size) for size in sizes]
    turns = 0
    while site.scheduled:
        site.end_turn()
        turns += 1
    assert [len(one.sent) for one in requesters] == [1] * len(sizes)
    assert turns <= 2 + len(sizes)


def test_answers_wait_for_the_end_of_the_turn(site: Site) -> None:
    requester = site.requester("m")
    site.turn.will_send(b"1", requester)
    site.turn.will_send(b"2", requester)
    assert requester.sent == []
    site.end_turn()
    assert requester.sent == [b"1", b"2"]


def test_callbacks_follow_what_is_sent_and_send_themselves(site: Site) -> None:
    """A run of a model waits for the hits of its turn, and its answers for no other."""
    hit = site.requester("m", b"hit")
    miss = site.requester("m")
    seen: list[list[bytes]] = []

    def run() -> None:
        seen.append([*hit.sent, *miss.sent])
        site.turn.will_send(b"%d" % len(seen), miss)

    site.turn.call_at_end(run)
    site.turn.call_at_end(run)
    site.end_turn()
    assert seen == [[b"hit"], [b"hit", b"1"]]
    assert miss.sent == [b"1", b"2"]
    assert not site.scheduled  # no empty turn follows


def test_what_a_callback_adds_is_for_the_next_turn(site: Site) -> None:
    brought: list[int] = []

    def again() -> None:
        brought.append(site.turn.brought)
        if len(brought) < 3:
            site.turn.call_at_end(again)

    site.requester("m", b"1", b"2")
    site.turn.call_at_end(again)
    for _ in range(3):
        site.end_turn()
    assert brought == [2, 0, 0]
    assert not site.scheduled


def test_the_next_request_after_a_callbacks_answer_has_a_turn(site: Site) -> None:
    requester = site.requester("m")

    def run() -> None:
        requester.text = b"next"
        site.turn.will_send(b"miss", requester)
        site.turn.add(requester)

    site.turn.call_at_end(run)
    site.end_turn()
    assert requester.sent == [b"miss"]
    site.end_turn()
    assert requester.sent == [b"miss", b"next"]


def test_a_bug_in_a_callback_leaves_the_others_alone(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    requester = site.requester("m")

    def broken() -> None:
        site.turn.will_send(b"1", requester)
        raise ZeroDivisionError

    site.turn.call_at_end(broken)
    site.turn.call_at_end(lambda: site.turn.will_send(b"2", requester))
    site.end_turn()
    assert requester.sent == [b"1", b"2"]
    assert "a bug at the end of a turn" in caplog.text


def test_a_large_answer_is_sent_at_once(site: Site) -> None:
    requester = site.requester("m")
    site.turn.will_send(b"1", requester)
    site.turn.will_send(b" " * 20_000, requester)
    assert [len(answer) for answer in requester.sent] == [1, 20_000]
    site.end_turn()
    assert len(requester.sent) == 2


def test_an_abandoned_request_is_not_predicted(site: Site) -> None:
    first = site.requester("m", b"1")
    second = site.requester("n", b"2")
    site.turn.abandon(second)
    site.end_turn()
    assert site.predictor.calls == [("m", [b"1"])]
    assert site.predictor.abandoned == ["n"]
    site.turn.abandon(first)  # it has been answered
    assert site.predictor.abandoned == ["n"]


def test_a_pending_request_is_abandoned_by_the_predictor(site: Site) -> None:
    pending: Any = object()
    requester = site.requester("m")
    requester.pending = pending
    site.turn.abandon(requester)
    assert site.predictor.abandoned == [pending]


def test_a_bug_in_one_model_leaves_the_others_alone(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.predictor.broken = "n"
    requesters = [site.requester(model, b"1") for model in ("n", "m", "n")]
    site.end_turn()
    assert [one.failures for one in requesters] == [1, 0, 1]
    assert [one.sent for one in requesters] == [[], [b"1"], []]
    assert "model n: a bug" in caplog.text
