"""Values in a shared tier that look like answers of lists and texts, and are none."""

import json
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import pytest

from gomlx import Client, Options
from tests.support import saved_models
from tests.support.redis_servers import Server, server
from tests.support.service import Service, running, wait_for

QUESTION = {"x": 2.0}
ANSWER = {"emb": [2.0, 4.0, 6.0], "label": "two"}
POISON = (
    '{"emb":["x",4.0,6.0],"label":"two"}',
    '{"emb":[],"label":"two"}',
    '{"emb":[2.0,4.0],"label":"two"}',
    '{"emb":[[[2.0]]],"label":"two"}',
    '{"emb":[1e39,4.0,6.0],"label":"two"}',
    '{"emb":[null,4.0,6.0],"label":"two"}',
    '{"emb":[2.0,4.0,6.0],"label":{"evil":1}}',
    '{"emb":[2.0,4.0,6.0],"label":{"b64":"!!"}}',
    '{"emb":[2.0,4.0,6.0],"label":{"b64":"eA==","evil":1}}',
    '{"emb":[2.0,4.0,6.0],"label":["two"]}',
)


class Poisoned:
    """A service without L1, so that each question goes to Redis; and that Redis."""

    def __init__(self, service: Service, redis: Server) -> None:
        self.service, self.redis = service, redis

    def tier(self) -> str:
        """Ask; the answer has to be the model's, wherever it comes from."""
        reply = self.service.post("m", QUESTION)
        assert reply.status_code == 200, reply.text
        assert reply.json()["data"] == ANSWER
        tier: str = reply.headers["cache-status"]
        return tier

    def found(self, question: Any) -> Any:
        """Return what the tier has of a question, once it has it."""

        def data() -> Any:
            reply = self.service.post("m", question)
            is_found = "near" in reply.headers["cache-status"]
            return is_found and reply.json()["data"]

        return wait_for(data)

    @cached_property
    def name(self) -> str:
        """Return under what name the answer stands."""
        self.tier()
        (name,) = wait_for(lambda: self.redis.ask("KEYS", "gomlx:1:m:*"))
        return str(name)

    def poison(self, value: str) -> None:
        """Put a value where the answer stands."""
        self.redis.ask("SET", self.name, value)


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Poisoned]:
    folder = tmp_path_factory.mktemp("poisoned")
    source = saved_models.embedded(folder / "model")
    with server(folder / "redis") as redis:
        config: dict[str, Any] = {
            "models": [{"id": "m", "url": str(source), "datastore": "s"}],
            "datastores": [
                {"id": "s", "memory_mb": 0, "tiers": [{"connection": "near"}]}
            ],
            "connections": [{"id": "near", "url": redis.url}],
        }
        with running(folder, config) as service:
            poisoned = Poisoned(service, redis)
            assert poisoned.name  # while there is no other
            yield poisoned


@pytest.mark.parametrize("value", POISON, ids=range(len(POISON)))
def test_it_reaches_no_answer_of_the_service(poisoned: Poisoned, value: str) -> None:
    def is_a_miss() -> bool:
        poisoned.poison(value)
        return "near" not in poisoned.tier()

    wait_for(is_a_miss)  # at once, but for an answer that was still to be written
    wait_for(lambda: "near" in poisoned.tier())


@pytest.mark.parametrize("value", POISON, ids=range(len(POISON)))
def test_it_reaches_no_answer_of_a_client(poisoned: Poisoned, value: str) -> None:
    """The client looks itself, and gets the answer from the service then."""
    redis = poisoned.redis.url
    options = Options(redis_seconds=5.0)
    with Client("m", poisoned.service.url, redis=redis, options=options) as client:
        client.predict(x=3.0)  # connects
        poisoned.poison(value)
        assert client.predict(**QUESTION) == ANSWER


def test_what_is_an_answer_is_one(poisoned: Poisoned) -> None:
    """Were all of it refused, the tests above would pass, too."""
    value = {"emb": ["NaN", -1, 0.5], "label": {"b64": "/w=="}}

    def is_answered() -> bool:
        poisoned.poison(json.dumps(value))
        reply = poisoned.service.post("m", QUESTION)
        return bool(reply.json()["data"] == value)

    wait_for(is_answered)  # at once, but for a look-up that was late


def test_ours_are_answers_whatever_they_hold(poisoned: Poisoned) -> None:
    """The bounds of float32 and text that is not UTF-8 come back from the tier."""
    for x in (0.0, -1.0, 1.1342745e38, -1.1342745e38, 1e-45, 3e38):
        first = poisoned.service.post("m", {"x": x}).json()["data"]
        assert first == poisoned.found({"x": x})
