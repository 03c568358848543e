"""Transformers, auxiliary inputs, and the version that both are part of."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gomlx.errors import StageFailed, TransformFailed
from gomlx.models.serving.servable import Servable
from gomlx.models.version import InputSettings, ModelVersion, Settings, StageRequest
from tests.support import saved_models
from tests.support.families import tables

Stage = Callable[..., ModelVersion]
CODE = """\
def best(inputs, outputs):
    if inputs["limit"] == "raise":
        raise ValueError("no limit")
    if inputs["limit"] == "set":
        return {1, 2}
    return {"word": inputs["w"], "limit": inputs["limit"], "over": outputs["y"] + 1}

number = 5
"""


@pytest.fixture
def ranking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module `ranking` that can be imported."""
    folder = tmp_path / "code"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    for name in ("ranking", "shop", "shop.factor"):  # as other tests imported them
        monkeypatch.delitem(sys.modules, name, raising=False)
    (folder / "ranking.py").write_text(CODE)
    return folder / "ranking.py"


AUXILIARY = InputSettings("limit", auxiliary=True)
A = InputSettings("a", auxiliary=True)
B = InputSettings("b", auxiliary=True)


def settings(function: str = "ranking:best", **others: Any) -> Settings:
    return Settings((AUXILIARY,), transformer=function, **others)


def answers_of(servable: Servable, **columns: Any) -> Any:
    rows = servable.dictionary.canonical(servable.signature.check(columns).rows)
    return [json.loads(answer) for answer in servable.run(rows)]


def test_what_it_returns_is_the_answer(
    tmp_path: Path, staged: Stage, ranking: Path
) -> None:
    source = tables.mutable_table(tmp_path / "m")
    servable = Servable(staged(source, settings=settings()))
    assert answers_of(
        servable, w=["oslo", "lima"], limit=[1.5, None], batch_size=2
    ) == [
        {"word": "oslo", "limit": 1.5, "over": 2.0},
        {"word": "[UNK]_", "limit": None, "over": -4.0},  # as the model was fed
    ]


@pytest.mark.parametrize(
    ("limit", "message"),
    [("raise", "ValueError: no limit"), ("set", "not JSON serializable")],
)
def test_an_exception_names_model_and_function(
    tmp_path: Path, staged: Stage, ranking: Path, limit: str, message: str
) -> None:
    source = tables.mutable_table(tmp_path / "m")
    servable = Servable(staged(source, settings=settings()))
    expected = f"model 'm': transformer 'ranking:best' failed: .*{message}"
    with pytest.raises(TransformFailed, match=expected):
        answers_of(servable, w="oslo", limit=limit)


VERSIONED = (
    "FACTOR = {}\ndef best(inputs, outputs):\n    return outputs['y'] * FACTOR\n"
)


def test_a_version_runs_the_code_that_it_was_staged_with(
    tmp_path: Path, staged: Stage, ranking: Path
) -> None:
    """Whatever becomes of the file: two versions answer side by side, and again."""
    source = saved_models.scale(tmp_path / "m", 2.0)
    given = Settings(transformer="ranking:best")
    versions = []
    for factor in (1, 1000):
        ranking.write_text(VERSIONED.format(factor))
        versions.append(staged(source, settings=given))
    first, second = map(Servable, versions)
    ranking.unlink()
    for servable, expected in ((first, 4.0), (second, 4000.0), (first, 4.0)):
        assert answers_of(servable, x=2.0) == [expected]
    assert answers_of(Servable(versions[0]), x=2.0) == [4.0]
    assert first.version.digest != second.version.digest


def test_what_is_no_number_is_a_word(
    tmp_path: Path, staged: Stage, ranking: Path
) -> None:
    ranking.write_text(
        "from dataclasses import dataclass\n"
        "@dataclass\nclass Low:\n    low: float\n"
        "def best(inputs, outputs):\n"
        "    inf = float('inf')\n"
        "    all = [inf, (float('nan'), 1.5), Low(-inf)]\n"
        "    return {'all': all, 'none': None, 'word': 'null'}\n"
    )
    source = saved_models.scale(tmp_path / "m", 2.0)
    given = Settings(transformer="ranking:best")
    found = answers_of(Servable(staged(source, settings=given)), x=2.0)
    words = ["Infinity", ["NaN", 1.5], {"low": "-Infinity"}]
    assert found == [{"all": words, "none": None, "word": "null"}]


@pytest.mark.parametrize("reference", ["shop:best", "shop.ranking:best"])
def test_relative_imports(
    tmp_path: Path, staged: Stage, ranking: Path, reference: str
) -> None:
    folder = ranking.parent / "shop"
    folder.mkdir()
    (folder / "factor.py").write_text("FACTOR = 3")
    text = VERSIONED.replace("FACTOR = {}", "from .factor import FACTOR")
    for name in ("__init__.py", "ranking.py"):
        (folder / name).write_text(text)
    source = saved_models.scale(tmp_path / "m", 2.0)
    servable = Servable(staged(source, settings=Settings(transformer=reference)))
    assert answers_of(servable, x=2.0) == [12.0]


def test_a_module_of_dataclasses(tmp_path: Path, staged: Stage, ranking: Path) -> None:
    ranking.write_text(
        "from __future__ import annotations\n"
        "from dataclasses import asdict, dataclass\n"
        "@dataclass\nclass Answer:\n    y: float\n"
        "def best(inputs, outputs):\n    return asdict(Answer(outputs['y']))\n"
    )
    source = saved_models.scale(tmp_path / "m", 2.0)
    given = Settings(transformer="ranking:best")
    assert answers_of(Servable(staged(source, settings=given)), x=2.0) == [{"y": 4.0}]


@pytest.mark.parametrize(
    "reference",
    ["math:floor", "nowhere:f", "ranking.deeper:f", "ranking:worst", "ranking:number"],
)
def test_a_bad_reference_is_not_staged(
    tmp_path: Path, staged: Stage, ranking: Path, reference: str
) -> None:
    source = tables.mutable_table(tmp_path / "m")
    with pytest.raises(StageFailed, match=f"model 'm': transformer '{reference}': "):
        staged(source, settings=settings(reference))


def test_every_setting_makes_another_version(
    tmp_path: Path, staged: Stage, ranking: Path
) -> None:
    source = saved_models.keras(tmp_path / "m")
    different = [
        Settings(),
        Settings((InputSettings("price", 1),)),
        Settings((InputSettings("price", 2),)),
        Settings((InputSettings("city", wildcard=True),)),
        Settings((InputSettings("day", wildcard=True),)),
        Settings((A,)),
        Settings((B,)),
        Settings((A, B)),
        Settings((A, B), key_fields=("a",)),
        Settings((A, B), key_fields=("a", "b")),
        Settings((AUXILIARY,), transformer="ranking:best"),
    ]
    versions = [staged(source, settings=one).digest for one in different]
    assert len(set(versions)) == len(different)
    same = Settings((B, A), key_fields=("b", "a"))
    assert staged(source, settings=same).digest == versions[9]
    ranking.write_text(CODE.replace("+ 1", "+ 2"))
    stat = ranking.stat()
    os.utime(ranking, (stat.st_mtime + 10, stat.st_mtime + 10))
    assert staged(source, settings=different[-1]).digest not in versions


def test_the_order_of_a_vocabulary_makes_another_version(
    tmp_path: Path, staged: Stage
) -> None:
    """Its words then have other numbers; which version has which must not differ."""
    orders = [["a", "b"], ["b", "a"]]
    sources = [saved_models.lookup(tmp_path / order[0], order) for order in orders]
    versions = [staged(source) for source in sources]
    assert versions[0].digest != versions[1].digest
    moved = Path(shutil.copytree(sources[0], tmp_path / "moved"))
    for path in moved.rglob("*"):
        os.utime(path, (1, 1))
    assert staged(moved, name="other").digest == versions[0].digest
    answers = [answers_of(Servable(version), word="a") for version in versions]
    assert answers == [[{"y": 0.0}], [{"y": 1.0}]]


def test_a_request_survives_being_written() -> None:
    given = Settings((InputSettings("x", 2), A, B), ("a",), "m:f")
    request = StageRequest("m", "u", Path("/i"), "s", {"x": 1}, given)
    assert StageRequest.from_json(request.to_json()) == request
