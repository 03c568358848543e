"""`gomlx inspect` and `gomlx key`."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from typer.testing import CliRunner, Result

from gomlx.cli import app
from tests.cli.test_cli import ROOT, write
from tests.support import saved_models
from tests.support.families import buckets, comparisons, parts
from tests.support.saved_models import save, spec

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A function that runs a command in the test's folder; TensorFlow stays loaded."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *arguments: CliRunner().invoke(app, arguments)


def shown(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return result.stdout


def test_inspect_shows_kind_proof_and_key_space(tmp_path: Path, run: Run) -> None:
    saved_models.keras(tmp_path / "m")
    document = json.loads(shown(run("inspect", "m", "--json")))
    found = [(i["input"], i["kind"], i["distinct"]) for i in document["inputs"]]
    assert found == [
        ("city", "vocabulary", 4),
        ("day", "vocabulary", 4),
        ("price", "buckets", 3),
    ]
    assert "(3 values)" in document["inputs"][0]["proof"]
    assert document["key_space"] == 48
    table = shown(run("inspect", "m"))
    for word in ("int64", "[1]", "vocabulary", "bucketized by 2", "at most 48"):
        assert word in table


def test_the_example_of_the_page_on_transformers(tmp_path: Path) -> None:
    """The command runs as a script elsewhere, like the one that pip installs."""
    page = (ROOT / "docs" / "transformers.md").read_text()
    blocks = re.findall(r"```(python|yaml)\n(.*?)```", page, re.DOTALL)
    code, config = (
        next(text for kind, text in blocks if kind == wanted and "advise" in text)
        for wanted in ("python", "yaml")
    )
    (tmp_path / "pricing.py").write_text(code)
    write(tmp_path, config)
    saved_models.keras(tmp_path / "models" / "flights")
    script = tmp_path / "bin" / "gomlx"
    script.parent.mkdir()
    script.write_text("from gomlx.__main__ import main\nmain()\n")
    command = (sys.executable, script, "inspect", "flights", "-c", "config.yaml")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "the config says auxiliary; in key_fields" in done.stdout


def test_inspect_shows_why_not_and_follows_the_config(tmp_path: Path, run: Run) -> None:
    saved_models.keras(tmp_path / "m")
    inputs = (
        "{name: price, precision: 2}, {name: city, wildcard: true}, "
        "{name: who, auxiliary: true}, {name: trace, auxiliary: true}"
    )
    write(
        tmp_path,
        f"models: [{{id: a, url: ./m, inputs: [{inputs}], key_fields: [who]}}]",
    )
    document = json.loads(shown(run("inspect", "a", "-c", "config.yaml", "--json")))
    found = {i["input"]: (i["kind"], i["distinct"]) for i in document["inputs"]}
    assert found == {
        "city": ("exact", None),
        "day": ("vocabulary", 4),
        "price": ("rounded", None),
        "trace": ("auxiliary", 1),
        "who": ("auxiliary", None),
    }
    assert document["inputs"][0]["proof"] == "the config says wildcard"
    assert document["key_space"] is None
    buckets.bucketized_and_used(tmp_path / "exact")
    table = shown(run("inspect", "exact"))
    assert "AddV2 (add) takes its value" in table
    assert "keys: no bound" in table


def test_a_key_space_that_no_cache_can_hold(tmp_path: Path, run: Run) -> None:
    table = parts.static_table(["a", "b"])

    def f(w: Any) -> Any:
        return {"y": table.lookup(w)}

    save(tmp_path / "m", f, [spec("w", "string", (None, 20_000))], table)
    assert json.loads(shown(run("inspect", "m", "--json")))["key_space"] is None


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("inspect", "nothing"), 1, "/nothing: no saved_model.pb and no"),
        (("inspect", "b", "-c", "config.yaml"), 1, "no model 'b'; there are: a, gone"),
        (("inspect", "a", "-c", "nothing.yaml"), 2, "nothing.yaml"),
        (("key", "gone", "{}"), 1, "/gone: no saved_model.pb and no"),
        (("key", "b", "{}"), 1, "no model 'b'; there are: a, gone"),
        (("key", "a", "{"), 1, "malformed JSON"),
        (("key", "a", '{"word":"\\ud800"}'), 1, "malformed JSON"),
        (("key", "a", '{"word":"\udcff"}'), 1, "the body is not UTF-8"),
        (("key", "a", '{"word":1e999}'), 1, "input 'word': expected a string"),
        (("key", "a", '{"word":"a","town":1e999}'), 1, "'town': no such input"),
        (("key", "a", "[1]"), 1, "expected a JSON object, got [1]"),
        (("key", "a", "{}"), 1, "input 'word': missing"),
        (("key", "a", '{"word":1}'), 1, "input 'word': expected a string"),
        (("key", "a", '{"word":"a","town":1}'), 1, "'town': no such input"),
        (("key", "a", '{"word":["x"],"batch_size":1}'), 1, "expected one row"),
        (("key", "a"), 2, "rows"),
    ],
)
def test_errors_are_one_sentence(
    tmp_path: Path, run: Run, arguments: tuple[str, ...], code: int, message: str
) -> None:
    saved_models.lookup(tmp_path / "m", ["a"])
    write(tmp_path, "models: [{id: a, url: ./m}, {id: gone, url: ./gone}]")
    command, *others = arguments
    options = ("-c", "config.yaml") if command == "key" else ()
    result = run(command, *options, *others)
    assert result.exit_code == code
    assert message in result.stderr
    assert isinstance(result.exception, SystemExit)  # no uncaught error


def test_key_shows_what_collapsed_and_what_differs(tmp_path: Path, run: Run) -> None:
    comparisons.masked(tmp_path / "m")
    write(tmp_path, "models: [{id: a, url: ./m}]")

    def key(*rows: str) -> str:
        return shown(run("key", "-c", "config.yaml", "a", *rows))

    same = key('{"w":"x","n":1}', '{"w":"y","n":2}')
    assert "'x' → '[UNK]' (not among the 3 values that the model knows)" in same
    assert same.endswith("the rows share an entry\n")
    first, second = (json.loads(part + "}")["key"] for part in _documents(same))
    assert first == second
    other = key('{"w":"x","n":7}', '{"w":"rome","n":7}')
    assert other.endswith("the rows differ in: w\n")


def _documents(text: str) -> list[str]:
    return text.split("\n}\n")[:2]


def test_key_shows_canonical_rows_that_can_be_sent(tmp_path: Path, run: Run) -> None:
    table = parts.static_table(["a", b"\xff"])

    def f(w: Any) -> Any:
        return {"y": table.lookup(w[:, 0])}

    save(tmp_path / "m", f, [spec("w", "string", (None, 2, 1))], table)
    write(tmp_path, "models: [{id: a, url: ./m}]")
    row = json.dumps({"w": [[{"b64": "/w=="}], ["x"]]})
    first = json.loads(shown(run("key", "-c", "config.yaml", "a", row)))
    assert first["canonical"] == {"w": [[{"b64": "/w=="}], ["[UNK]"]]}
    assert "(not among the 2 values that the model knows)" in first["collapsed"]["w"]
    canonical = json.dumps(first["canonical"])
    second = json.loads(shown(run("key", "-c", "config.yaml", "a", canonical)))
    assert (second["key"], second["collapsed"]) == (first["key"], {})


def test_key_shows_ragged_and_sparse_rows_as_they_are_sent(
    tmp_path: Path, run: Run
) -> None:
    def f(r: Any, s: Any) -> Any:
        return {"n": r.row_lengths(), "y": tf.sparse.reduce_sum(s, 1)}

    specs = [
        tf.RaggedTensorSpec([None, None, None], tf.string, ragged_rank=2),
        tf.SparseTensorSpec([None, 4], tf.float32),
    ]
    save(tmp_path / "m", f, specs)
    write(tmp_path, "models: [{id: a, url: ./m}]")
    sparse = {"indices": [[1], [3]], "values": [0.5, 2.0], "shape": [4]}
    row = {"r": [["", ""], [""]], "s": sparse}
    first = json.loads(shown(run("key", "-c", "config.yaml", "a", json.dumps(row))))
    assert first["canonical"] == row
    inspected = json.loads(shown(run("inspect", "-c", "config.yaml", "a", "--json")))
    assert [one["form"] for one in inspected["inputs"]] == [
        "lists of any length",
        "sparse",
    ]
    assert [one["distinct"] for one in inspected["inputs"]] == [None, None]
    table = shown(run("inspect", "-c", "config.yaml", "a"))
    assert "lists of" in table  # a narrow terminal breaks the line


def test_rows_that_are_answered_together_have_one_key(tmp_path: Path, run: Run) -> None:
    save(tmp_path / "m", lambda x: {"y": tf.nn.softmax(x, axis=0)}, [spec("x")])
    model = "{id: m, url: ./m, batch: {rows: together}}"
    config = str(write(tmp_path, f"models: [{model}]"))
    inspected = run("inspect", "m", "-c", config)
    assert "those of a request run together" in shown(inspected)
    body = '{"batch_size":2,"x":[%s]}'
    both = shown(run("key", "m", body % "1,2", body % "2,1", "-c", config))
    keys = re.findall(r'"key": "(\w+)"', both)
    assert len(set(keys)) == 2
    assert "the rows differ in: x" in both
    one = shown(run("key", "m", body % "1,2", '{"x":1}', body % "1,2", "-c", config))
    assert re.findall(r'"key": "(\w+)"', one)[::2] == [keys[0], keys[0]]
    assert "the rows differ in: the number of rows" in one
