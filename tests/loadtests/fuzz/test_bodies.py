"""Bodies of any kind, sent to a real service of a model of the zoo."""

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from loadtests.fuzz.bodies import fuzzer, texts, ways
from loadtests.fuzz.cases import Case, Finding, Plan

NAME = "a scalar for the request, with a default"
ROWS = [{"x": 1.5, "w": ["a", "b"]}, {"x": -2.0, "w": ["b", "b"]}]


def test_what_is_not_damaged_is_rows_of_the_model() -> None:
    rng = random.Random(1)
    found = [texts.any_text(ROWS, set(), rng) for _ in range(300)]
    valid = [json.loads(text.data) for text in found if text.is_valid]
    assert 50 < len(valid) < 250
    for body in valid:
        size = body.pop("batch_size", None)
        assert body.keys() == {"x", "w"}
        assert size is None or len(body["x"]) in (1, size)


def test_an_input_of_the_request_is_in_no_list() -> None:
    assert texts.batch(ROWS, {"w"}) == {
        "batch_size": 2,
        "x": [1.5, -2.0],
        "w": ["a", "b"],
    }


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    with fuzzer.opened(tmp_path_factory.mktemp("bodies"), NAME) as found:
        yield found


def test_bodies_are_answered_or_refused(case: Case) -> None:
    """With a default: beside `batch_size` and `cache_key` it was left out, once."""
    outcomes = Plan("", 0, seconds=60, count=1000).run(case)
    assert outcomes["answered, as by TensorFlow"] > 200
    assert outcomes["refused, as the client's error"] > 200


def test_a_body_can_be_sent_on_each_way(case: Case) -> None:
    model = served(case)
    row = texts.Text(b'{"x": 1.5}', True)
    posted = ways.told(model.post(row.data))
    assert posted.code == 200
    assert [model.send(way, row) for way in ways.WAYS] == [posted] * 3
    wrong = texts.Text(b'{"x": "a"}', False)
    posted = ways.told(model.post(wrong.data))
    assert posted == ways.Told(400, None)
    sent = [model.send(way, wrong) for way in ways.WAYS]
    assert sent == [posted, posted, None]
    lines = texts.Text(b'{"x":\n[1, 2], "batch_size": 2}', True)
    assert [bool(model.send(way, lines)) for way in ways.WAYS] == [True, False, False]


def served(case: Case) -> fuzzer.Served:
    """Return the only model that is tried."""
    (model,) = case.__self__._models  # type: ignore[attr-defined]
    assert isinstance(model, fuzzer.Served)
    return model


def test_a_way_that_differs_is_found(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shouted(*_: object) -> ways.Told:
        return ways.Told(200, "loud")

    monkeypatch.setattr(fuzzer, "WAYS", [shouted])
    with pytest.raises(Finding, match=r"posted .*, shouted .*loud"):
        case(0)


def test_a_wrong_answer_is_found(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    def other(self: fuzzer.Served, body: Any) -> Any:
        rows = self.rows(body)
        found = [{"y": row["x"] + 77.0} for row in rows]
        return found[0] if "batch_size" not in body else found

    monkeypatch.setattr(fuzzer.Served, "expected", other)
    with pytest.raises(Finding, match=r"TensorFlow: .*'y': ") as raised:
        for seed in range(100):
            case(seed)
    assert raised.value.options == f'--only "{NAME}"'
