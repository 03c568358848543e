"""The four ways to a service answer alike: HTTP/1.1 and HTTP/2, two of each."""

import random
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loadtests.fuzz.malformed import EVAL
from loadtests.fuzz.requests import AnyRequest, any_request
from loadtests.fuzz.ways import CONFIG, Ways, open_ways

LIMIT = CONFIG["endpoint"]["max_body_bytes"]
TYPE = (b"content-type", b"application/json")


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    with open_ways(tmp_path_factory.mktemp("ways")) as opened:
        yield opened
        assert "Traceback" not in opened.services["ngh2"].text()


def post(body: bytes, *headers: tuple[bytes, bytes], told: bool = True) -> AnyRequest:
    return AnyRequest(b"POST", EVAL, headers, body, told)


# What to send, and the status by each way; 0: the stream is reset.
REQUESTS: dict[str, tuple[AnyRequest, list[int]]] = {
    "right": (post(b'{"x":3}'), [200, 200, 200, 200]),
    "at the limit": (post(b'{"x":3}'.ljust(LIMIT), told=False), [200] * 4),
    "over it, as announced": (post(b'{"x":3}'.ljust(LIMIT + 1)), [413] * 4),
    "over it": (post(b'{"x":3}'.ljust(LIMIT + 1), told=False), [413] * 4),
    "a type, twice": (post(b'{"x":3}', TYPE, TYPE), [400, 400, 400, 0]),
    "a cookie, twice": (post(b'{"x":3}', *[(b"cookie", b"a=b")] * 2), [200] * 4),
}


@pytest.mark.parametrize("what", REQUESTS)
def test_a_request(ways: Ways, what: str) -> None:
    request, statuses = REQUESTS[what]
    for seed in range(8):  # cut in different ways
        found = ways.replies([request], random.Random(seed))
        assert [replies[0].status for replies in found.values()] == statuses, found
    assert not ways.differences([request], random.Random(0))


def test_a_difference_is_found(ways: Ways) -> None:
    """Of ways that do not answer alike: one of them has another model."""
    request = AnyRequest(b"GET", b"/v1/api/config", (), None, True)
    found = ways.differences([request], random.Random(1))
    assert "HTTP/2, Gunicorn" in found
    assert "HTTP/2, ngh2" not in found


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(rng=st.randoms(use_true_random=False))
def test_any_requests(ways: Ways, rng: random.Random) -> None:
    requests = [any_request(rng) for _ in range(rng.randint(1, 6))]
    chance = random.Random(rng.randrange(1 << 32))  # its state can be kept
    assert not ways.differences(requests, chance)


@pytest.mark.parametrize("seed", range(60))
def test_others_are_answered_beside_what_breaks_rules(ways: Ways, seed: int) -> None:
    pids = [one.worker_pids() for one in ways.services.values()]
    assert not ways.disturb(random.Random(seed))
    assert [one.worker_pids() for one in ways.services.values()] == pids
