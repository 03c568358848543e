"""Values in a shared tier that look like answers of lists and texts, but are not."""

import json
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import pytest

from gomlx import Client, Options
from tests.support import saved_models
from tests.support.redis_servers import Server, server
from tests.support.service import Service, running, wait_for

ROW = {"x": 2.0}
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
    # What any parser takes for an answer, but no service has written.
    '{"emb":[9.0,9.0,9.0],"label":"a","label":"nine"}',
    '{"emb":[9.0,9.0,9.0],"label":"nine"} ',
    '{"emb":[9.0,9.0, 9.0],"label":"nine"}',
    '{"emb":[9,9.0,9.0],"label":"nine"}',
    '{"emb":[9e0,9.0,9.0],"label":"nine"}',
    '{"emb":[9.00,9.0,9.0],"label":"nine"}',
    '{"emb":[1e-9,9.0,9.0],"label":"nine"}',
    '{"emb":[9.0,9.0,9.0],"label":"n\\u0069ne"}',
    '{"emb":[9.0,9.0,9.0],"label":{"b64":"bmluZQ=="}}',
)


class Poisoned:
    """A service without L1, so that each row is looked up in Redis; and that Redis."""

    def __init__(self, service: Service, redis: Server) -> None:
        self.service = service
        self.redis = redis

    def tier(self) -> str:
        """Return the tier of an answer, which has to be the model's in any case."""
        reply = self.service.post("m", ROW)
        assert reply.status_code == 200, reply.text
        assert reply.json()["data"] == ANSWER
        tier: str = reply.headers["cache-status"]
        return tier

    def found(self, row: Any) -> Any:
        """Return the tier's answer to a row, once it is there."""

        def data() -> Any:
            reply = self.service.post("m", row)
            is_found = "near" in reply.headers["cache-status"]
            return is_found and reply.json()["data"]

        return wait_for(data)

    @cached_property
    def name(self) -> str:
        """The name of the answer in Redis."""
        self.tier()
        (name,) = wait_for(lambda: self.redis.execute("KEYS", "gomlx:1:m:*"))
        return str(name)

    def poison(self, value: str) -> None:
        """Replace the answer by another value."""
        self.redis.execute("SET", self.name, value)


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
            assert poisoned.name  # while there is no other name
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
    """The client looks it up in Redis, refuses it, and gets the service's answer."""
    redis = poisoned.redis.url
    options = Options(redis_seconds=5.0)
    with Client("m", poisoned.service.url, redis=redis, options=options) as client:
        client.predict(x=3.0)  # connects
        poisoned.poison(value)
        assert client.predict(ROW) == ANSWER


def test_a_valid_answer_is_accepted(poisoned: Poisoned) -> None:
    """If all values were refused, the tests above would pass, too."""
    value = {"emb": ["NaN", -1.0, 0.5], "label": {"b64": "/w=="}}

    def is_answered() -> bool:
        poisoned.poison(json.dumps(value, separators=(",", ":")))
        reply = poisoned.service.post("m", ROW)
        return bool(reply.json()["data"] == value)

    wait_for(is_answered)  # at once, but for a look-up that was late


def test_every_answer_of_the_model_is_valid(poisoned: Poisoned) -> None:
    """The bounds of float32 and text that is not UTF-8 come back from the tier."""
    for x in (0.0, -1.0, 1.1342745e38, -1.1342745e38, 1e-45, 3e38):
        first = poisoned.service.post("m", {"x": x}).json()["data"]
        assert first == poisoned.found({"x": x})
