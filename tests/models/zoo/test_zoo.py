"""Every situation: what is served is what TensorFlow answers to the row alone.

Alone and among neighbours, cold and warm: to the last bit, except for models whose
last bits depend on the size of a batch (docs/internals/decisions.md).
"""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest
import tensorflow as tf
import yaml

from gomlx.cli.service import stage_request
from gomlx.config.load import load_config
from gomlx.contract.echoes import Echoes, completed
from gomlx.contract.tensor import Row
from gomlx.errors import StageFailed
from gomlx.models.serving.servable import Servable
from gomlx.models.staging.stage import stage
from gomlx.models.version import staged_version
from tests.models.zoo.catalogue import SITUATIONS
from tests.models.zoo.reference import Answer, Reference
from tests.models.zoo.situation import Body, Situation
from tests.support.service import Service, running

FAILED = {"refused": True}  # the answer to a row that the model refuses
UNCACHED = "gomlx; fwd=bypass; detail=unsteady-model"
DATASTORES = [{"id": "answers", "memory_mb": 64}]


def is_there(package: str) -> bool:
    return not package or find_spec(package) is not None


SERVED = [
    one.name for one in SITUATIONS.values() if not one.refused and is_there(one.needs)
]
REFUSED = [one.name for one in SITUATIONS.values() if one.refused]


def id_of(name: str) -> str:
    return re.sub(r"\W+", "-", name)


def agree(found: Any, expected: Any, rounds: bool) -> bool:
    """Equal; floats that are rounded, but for the last bits."""
    if type(found) is not type(expected):
        return False
    if isinstance(expected, list):
        pairs = zip(found, expected, strict=False)
        same = all(agree(f, e, rounds) for f, e in pairs)
        return same and len(found) == len(expected)
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(
            agree(found[name], e, rounds) for name, e in expected.items()
        )
    if isinstance(expected, float):
        if rounds:
            return math.isclose(found, expected, rel_tol=1e-5, abs_tol=1e-6)
        return found == expected and math.copysign(1, found) == math.copysign(
            1, expected
        )
    return bool(found == expected)


@dataclass(frozen=True)
class Case:
    """A situation that is served."""

    situation: Situation
    source: Path
    service: Service

    @property
    def model(self) -> str:
        return id_of(self.situation.name)

    @cached_property
    def reference(self) -> Reference:
        return Reference(self.situation, self.source)

    @cached_property
    def expected(self) -> list[Answer]:
        """TensorFlow's answer to each row, alone."""
        return [self._alone(row) for row in self.situation.rows]

    def _alone(self, row: Body) -> Answer:
        try:
            return self.reference.answer(row)
        except tf.errors.InvalidArgumentError:
            return FAILED

    @cached_property
    def servable(self) -> Servable:
        """The version that the service has, loaded in this process."""
        directory = self.service.run_dir / "models" / self.model
        return Servable(
            staged_version(self.model, directory / self.service.version(self.model))
        )

    def post(self, body: Body) -> httpx.Response:
        return self.service.client.post(
            f"/v1/api/model/{self.model}/eval", content=json.dumps(body)
        )

    def check(self, found: Any, expected: Any) -> None:
        rounds = self.situation.rounds
        assert agree(found, expected, rounds), f"{found}, expected {expected}"

    def groups(self) -> list[list[int]]:
        """The places of the rows that one request may have: those that are accepted.

        They agree in the inputs of the request, and in which inputs are given.
        """
        found: dict[str, list[int]] = {}
        for i, (row, answer) in enumerate(
            zip(self.situation.rows, self.expected, strict=True)
        ):
            if answer is not FAILED:
                shared = {n: row[n] for n in self.reference.of_requests if n in row}
                found.setdefault(json.dumps([sorted(row), shared]), []).append(i)
        return [*found.values()]


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Case]]:
    """One service of all situations."""
    folder = tmp_path_factory.mktemp("zoo")
    models = [built(SITUATIONS[name], folder) for name in SERVED]
    config = {"models": models, "datastores": DATASTORES}
    with running(folder, config) as service:
        yield {
            name: Case(SITUATIONS[name], folder / id_of(name), service)
            for name in SERVED
        }


def built(situation: Situation, folder: Path) -> dict[str, Any]:
    """Save a situation's model; return its part of the config."""
    path = folder / id_of(situation.name)
    situation.build(path)
    model = {"id": id_of(situation.name), "url": str(path), "datastore": "answers"}
    return model | dict(situation.config)


def test_there_are_many_situations() -> None:
    assert len(SITUATIONS) >= 60


@pytest.mark.parametrize("name", SERVED)
def test_a_situation_is_answered_as_by_tensorflow(
    zoo: Mapping[str, Case], name: str
) -> None:
    case = zoo[name]
    if case.situation.is_listwise:
        check_together(case)
        return
    description = case.servable.description
    check_at_once(case)
    check_alone_and_among_neighbours(case)
    assert description.joins_rows is case.situation.joins, description.rows_apart
    assert (not description.unsteady) is case.situation.steady, description.unsteady
    check_cold_and_warm(case)
    check_batches(case)


def check_alone_and_among_neighbours(case: Case) -> None:
    """The version's runs: each row, then all in several orders if they may join."""
    servable = case.servable
    random = Random(case.model)
    for places in case.groups():
        rows = [
            servable.signature.check(case.situation.rows[i]).rows[0] for i in places
        ]
        for i, row in zip(places, rows, strict=True):
            case.check(ran(servable, [row])[0], case.expected[i])
        for _ in range(3 if servable.description.joins_rows else 0):
            order = [random.randrange(len(rows)) for _ in range(9)]
            answers = ran(servable, [rows[i] for i in order])
            for i, answer in zip(order, answers, strict=True):
                case.check(answer, case.expected[places[i]])


def ran(servable: Servable, rows: Sequence[Row]) -> list[Answer]:
    """Run rows; outputs that repeat an input are taken from the rows, as served."""
    answers = servable.run(rows)
    if servable.signature.echoes:
        answers = completed(answers, Echoes(servable.signature).of(rows))
    return [json.loads(answer) for answer in answers]


def check_at_once(case: Case) -> None:
    """Requests of one row in several threads: their rows meet in the batcher."""
    pairs = [*zip(case.situation.rows, case.expected, strict=True)] * 4
    Random(case.model).shuffle(pairs)
    with ThreadPoolExecutor(8) as threads:
        found = threads.map(case.post, [row for row, _ in pairs])
        for response, (_, expected) in zip(found, pairs, strict=True):
            check_response(case, response, expected)


def check_response(case: Case, response: httpx.Response, expected: Answer) -> None:
    if expected is FAILED:
        assert response.status_code == 500, response.text
        return
    assert response.status_code == 200, response.text
    case.check(response.json()["data"], expected)


def check_cold_and_warm(case: Case) -> None:
    """Requests of one row, each of them twice, from the last row to the first."""
    pairs = [*zip(case.situation.rows, case.expected, strict=True)]
    for row, expected in reversed(pairs):
        for warm in ("gomlx; ", "gomlx; hit"):
            response = case.post(row)
            check_response(case, response, expected)
            status = warm if case.situation.steady else UNCACHED
            if expected is not FAILED:
                assert response.headers["cache-status"].startswith(status)


def check_batches(case: Case) -> None:
    """All rows in one request, with more of them that the cache does not have."""
    for places in case.groups():
        for order in (places, places[::-1], places * 3):
            response = case.post(batch(case, order))
            assert response.status_code == 200, response.text
            case.check(response.json()["data"], [case.expected[i] for i in order])


def check_together(case: Case) -> None:
    """Rows that are one question, twice, and in another order."""
    places = range(len(case.situation.rows))
    for order in (places, places, places[::-1], places[:1]):
        rows = [case.situation.rows[i] for i in order]
        response = case.post(batch(case, order))
        assert response.status_code == 200, response.text
        case.check(response.json()["data"], case.reference.answer_together(rows))


def batch(case: Case, places: Sequence[int]) -> Body:
    """Return a request of rows: a column of each input, and those of the request."""
    rows = [case.situation.rows[i] for i in places]
    once = case.reference.of_requests
    columns = {
        name: rows[0][name] if name in once else [row[name] for row in rows]
        for name in rows[0]
    }
    return columns | {"batch_size": len(rows)}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_says_why(tmp_path: Path, name: str) -> None:
    situation = SITUATIONS[name]
    config = tmp_path / "config.yaml"
    document = {"models": [built(situation, tmp_path)], "datastores": DATASTORES}
    config.write_text(yaml.safe_dump(document))
    (model,) = load_config(config).models
    with pytest.raises(StageFailed, match=situation.refused):
        stage(stage_request(model, tmp_path / "staged"))
