"""The judgement of answers: right, wrong, failed, refused, or died with a process."""

import json
from typing import Any

import numpy as np
import pytest

from loadtests.faults.answers import Answers
from loadtests.faults.judge import Limits, Outcome, Replies, judge
from loadtests.load.samples import Exchange, Samples
from tests.support import saved_models

VERSION = "0123abcd"
STARTED = 100.0  # by the clock of the machine
NO_LIMITS = Limits(longest=10, recovery=10)


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    made = Answers()
    path = saved_models.embedded(tmp_path_factory.mktemp("judged") / "model")
    made.learn(VERSION, path)
    return made


def exchange(x: float, data: Any, version: str = VERSION, port: int = 1) -> Exchange:
    body = json.dumps({"status": "ok", "data": data})
    head = f"HTTP/1.1 200 OK\r\nGomlx-Version: {version}\r\n\r\n"
    request = b"POST / HTTP/1.1\r\n\r\n" + json.dumps({"x": x}).encode()
    return Exchange(request, (head + body).encode(), port)


def lost(port: int) -> Exchange:
    return Exchange(b'POST / HTTP/1.1\r\n\r\n{"x":1}', b"", port)


def samples(*exchanges: Exchange, unanswered: int = 0) -> Samples:
    """Return samples of requests, one a second, each of which took 0.5 s."""
    status = [int(one.response[9:12] or b"0") for one in exchanges]
    count = len(exchanges)
    return Samples(
        np.arange(count, dtype=float),
        np.full(count, 0.5),
        np.zeros(count, int),
        np.array(status),
        np.zeros(count),
        [*exchanges],
        unanswered,
        STARTED,
    )


RIGHT = {"emb": [2.0, 4.0, 6.0], "label": "two"}


@pytest.mark.parametrize(
    ("data", "version", "wrong"),
    [
        (RIGHT, VERSION, 0),
        (RIGHT | {"emb": [2.0, 4.0, 6.000001]}, VERSION, 1),
        (RIGHT | {"emb": [2.0, 4.0]}, VERSION, 1),
        (RIGHT | {"label": "three"}, VERSION, 1),
        (RIGHT | {"more": 1}, VERSION, 1),
        ({"label": "two"}, VERSION, 1),
        (None, VERSION, 1),
        (RIGHT, "ffff", 1),
    ],
)
def test_answers_are_compared_with_the_model(
    answers: Answers, data: Any, version: str, wrong: int
) -> None:
    found = judge(samples(exchange(2.0, data, version)), answers, NO_LIMITS)
    assert len(found.wrong) == wrong
    assert not found.failed


def test_only_connections_of_killed_processes_may_be_lost(answers: Answers) -> None:
    load = samples(exchange(2.0, RIGHT), lost(5), lost(6))
    found = judge(load, answers, Limits(10, 10, lost={6}))
    assert (found.requests, found.died, len(found.failed)) == (3, 1, 1)
    ends = [(STARTED + 1.2, STARTED + 1.6)]
    found = judge(load, answers, Limits(10, 10, ends=ends))
    assert (found.died, len(found.failed)) == (1, 1)


def test_requests_fail_by_their_status_or_without_a_response(answers: Answers) -> None:
    refused = Exchange(lost(1).request, b"HTTP/1.1 429 No\r\n\r\n{}", 1)
    found = judge(samples(refused), answers, Limits(10, 10, refusals=[429]))
    assert (found.refused, found.failed) == (1, [])
    found = judge(samples(refused, unanswered=2), answers, NO_LIMITS)
    assert (found.requests, found.refused, len(found.failed)) == (3, 0, 2)


@pytest.mark.parametrize(
    ("replies", "recovery", "left", "problem"),
    [
        (Replies(9, 0.1), 0.5, [], ""),
        (Replies(9, 0.1, wrong=["a", "b"]), 0.5, [], "2 wrong: a"),
        (Replies(9, 0.1, failed=["c"]), 0.5, [], "1 failed: c"),
        (Replies(9, 11.0), 0.5, [], "an answer took more than 10 s"),
        (Replies(9, 0.1), None, [], "not as before within 10 s"),
        (Replies(9, 0.1), 0.5, ["1 processes"], "left behind: 1 processes"),
    ],
)
def test_what_is_a_problem(
    replies: Replies, recovery: float | None, left: list[str], problem: str
) -> None:
    outcome = Outcome("a fault", replies, recovery, left, NO_LIMITS)
    assert outcome.problems == ([problem] if problem else [])
