"""`gomlx check` looks into the models of a config, and refuses as staging does."""

import json
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
import yaml

from tests.cli.test_cli import gomlx
from tests.support import saved_models
from tests.support.redis_servers import Server
from tests.support.saved_models import save, spec
from tests.system.test_signatures import refused
from tests.system.test_signatures import saved as signatures_saved

MODELS: list[dict[str, Any]] = [
    {"id": "versions", "url": "./versions", "datastore": "s"},
    {"id": "keras", "url": "./keras", "datastore": "s", "example": {"price": 3}},
    {"id": "ranks", "url": "./list", "datastore": "s", "batch": {"rows": "together"}},
    {"id": "dice", "url": "./dice", "datastore": "s"},
    {"id": "unsaid", "url": "./list"},
    {"id": "file", "url": "./model.onnx"},
    {"id": "folder", "url": "./folder"},
    {"id": "gone", "url": "./gone"},
    {"id": "signature", "url": "./keras", "signature": "nope"},
    {"id": "example", "url": "./keras", "example": {"price": "much"}},
    {"id": "secret", "url": "s3://user:swordfish@bucket/a"},
]
# What the reason says of each that cannot be served.
REFUSED = {
    "unsaid": "`batch: {rows: together}`",
    "file": "onnx2tf",
    "folder": "put a SavedModel there",
    "gone": "put a SavedModel there",
    "signature": "no signature 'nope'; it has: serve, serving_default",
    "example": "example: input 'price'",
    "secret": "s3fs",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for version in ("2", "10"):
        saved_models.scale(folder / "versions" / version, 2.0)
    (folder / "versions" / "11").mkdir()
    saved_models.keras(folder / "keras")
    saved_models.dice(folder / "dice")
    save(folder / "list", lambda x: {"y": tf.nn.softmax(x, axis=0)}, [spec("x")])
    (folder / "model.onnx").write_text("not really")
    (folder / "folder").mkdir()
    (folder / "folder" / "notes.txt").write_text("nothing")
    return folder


def check(folder: Path, models: list[dict[str, Any]], *options: str) -> Any:
    document = {"models": models, "datastores": [{"id": "s", "memory_mb": 8}]}
    (folder / "config.yaml").write_text(yaml.safe_dump(document))
    return gomlx("check", "config.yaml", *options, cwd=folder)


def reports(done: Any) -> dict[str, dict[str, Any]]:
    return {one["id"]: one for one in json.loads(done.stdout)["models"]}


def test_each_model_is_staged_and_described(folder: Path) -> None:
    done = check(folder, MODELS, "--json")
    assert done.returncode == 1, done.stderr
    found = reports(done)
    further = found.pop("keras:serve")
    assert further["version"] == found["keras"]["version"]  # one with two names
    assert list(found) == [model["id"] for model in MODELS]
    assert {n for n, one in found.items() if one["problem"]} == REFUSED.keys()
    for name, words in REFUSED.items():
        assert words in found[name]["problem"]
    assert "swordfish" not in done.stdout + done.stderr
    assert found["versions"]["source"] == (
        "versions 2, 10, 11: 10 is served, since 11 has no model"
    )
    assert found["keras"]["source"] == "a SavedModel"
    assert found["file"]["source"] == "model.onnx"
    assert found["folder"]["source"] == "notes.txt"
    assert found["gone"]["source"] == "nothing is there"
    keras = found["keras"]
    assert [(one["name"], one["kind"]) for one in keras["inputs"]] == [
        ("city", "vocabulary"),
        ("day", "vocabulary"),
        ("price", "buckets"),
    ]
    assert keras["outputs"] == [{"name": "score", "dtype": "float32", "shape": [1]}]
    assert keras["rows"] == "run together: none depends on its neighbours"
    assert keras["cached"] == "cached by row in s, for 3600 s"
    assert len(keras["version"]) == 32
    assert found["ranks"]["cached"] == "cached by request in s, for 3600 s"
    assert found["dice"]["cached"] == "not cached: answers may vary (RandomUniform)"


def test_quick_reads_the_graph_and_runs_nothing(folder: Path) -> None:
    done = check(folder, MODELS, "--quick", "--json")
    assert done.returncode == 1, done.stderr
    found = reports(done)
    # Only the proof of a staging would find this out.
    assert {n for n, one in found.items() if one["problem"]} == REFUSED.keys() - {
        "unsaid"
    }
    keras = found["keras"]
    assert keras["inputs"][0] == {"name": "city", "dtype": "string", "shape": [1]}
    assert (keras["rows"], keras["version"]) == ("", "")
    kept = "cached by row in s, for 3600 s, unless they may vary"
    assert found["dice"]["cached"] == kept


def test_what_people_read(folder: Path) -> None:
    good, _, _, _, bad, *_ = MODELS
    done = check(folder, [good, bad])
    assert done.returncode == 1
    for words in ("model versions:", "float32", "exact", "rows: run together"):
        assert words in done.stdout
    assert "is fine" not in done.stdout
    assert "error: model unsaid cannot be served: its answer to a row" in done.stderr
    done = check(folder, [good])
    assert done.returncode == 0
    assert "answers: cached by row in s, for 3600 s" in done.stdout
    assert "config.yaml is fine" in done.stdout
    assert "Traceback" not in done.stderr


def test_models_whose_values_decide_how_long_a_run_takes(tmp_path: Path) -> None:
    def sum_to(x: Any) -> Any:
        return {"y": tf.reduce_sum(tf.range(x[0, 0])) + x}

    save(tmp_path / "m", sum_to, [spec("x")])
    model = {"id": "m", "url": "./m", "batch": {"rows": "alone"}}
    done = check(tmp_path, [model])
    assert done.returncode == 0, done.stderr
    assert "in threads only: by Range" in " ".join(done.stdout.split())


def test_limits_of_staging_hold_for_a_check(tmp_path: Path) -> None:
    saved_models.scale(tmp_path / "m", 2.0)
    document = {
        "models": [{"id": "m", "url": "./m"}],
        "watch": {"stage_cpu_seconds": 1},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(document))
    done = gomlx("check", "config.yaml", cwd=tmp_path)
    assert done.returncode == 1
    assert "watch.stage_cpu_seconds" in " ".join(done.stderr.split())


def test_what_else_a_value_may_or_must_be(tmp_path: Path) -> None:
    def f(id: Any, t: Any, x: Any) -> Any:
        return {"id": id, "y": tf.where(tf.math.is_nan(x), t, x)}

    save(
        tmp_path / "m",
        f,
        [spec("id", "string"), spec("t", shape=()), spec("x", shape=(None,))],
    )
    done = check(tmp_path, [{"id": "m", "url": "./m"}], "--json")
    (found,) = reports(done).values()
    forms = {one["name"]: one.get("form", "") for one in found["inputs"]}
    assert forms == {"id": "", "t": "one for all rows", "x": "may be missing"}
    assert [one.get("form") for one in found["outputs"]] == [None, "repeats input 'id'"]


def test_nothing_stays_behind(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    for options in ((), ("--quick",)):
        done = check(folder, MODELS[:1], *options)
        assert done.returncode == 0, done.stderr
        assert not list(tmp_path.iterdir())


def test_tiers_that_cost_a_model_more_than_they_save(
    folder: Path, near: Server
) -> None:
    saved_models.sleeper(folder / "costly", 500)
    document = {
        "models": [
            {"id": "cheap", "url": "./versions", "datastore": "s"},
            {"id": "costly", "url": "./costly", "datastore": "s"},
        ],
        "datastores": [{"id": "s", "tiers": [{"connection": "near"}]}],
        "connections": [{"id": "near", "url": near.url}],
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(document))
    done = gomlx("check", "config.yaml", "--connect", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    (connection,) = found["connections"]
    cheap, costly = found["tiers"]
    assert cheap["run_us"] < connection["lookup_us"] < costly["run_us"]
    assert (cheap["model"], cheap["tier"]) == ("cheap", "near")
    done = gomlx("check", "config.yaml", "--connect", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "model cheap: tier near costs more than it saves" in done.stderr
    assert "model costly uses tier near" in done.stdout
    document["datastores"] = [
        {"id": "s", "tiers": [{"connection": "near", "skip_below_us": "auto"}]}
    ]
    path.write_text(yaml.safe_dump(document))
    done = gomlx("check", "config.yaml", "--connect", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
    assert "us CPU a look-up" in done.stdout
    assert "model cheap does without tier near" in done.stdout


@pytest.mark.parametrize("option", [(), ("--quick",)])
@pytest.mark.parametrize(
    ("wanted", "code"), [("all", 0), ("none", 0), (["bad"], 1), (["gone"], 1)]
)
def test_a_signature_that_is_refused_is_a_fault_if_the_config_names_it(
    folder: Path, option: tuple[str, ...], wanted: Any, code: int
) -> None:
    if not (folder / "several").exists():
        signatures_saved(folder / "several", serving_default=1, bad=refused())
    models = [{"id": "m", "url": "./several", "signatures": wanted}]
    done = check(folder, models, "--json", *option)
    assert done.returncode == code, done.stderr
    found = reports(done)
    assert not found.pop("m")["problem"]
    words = {"m:bad": "dtype complex64 is not", "m:gone": "no signature 'gone'"}
    assert len(found) == (wanted != "none")
    for name, one in found.items():
        assert words[name] in one["problem"]
