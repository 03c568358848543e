"""`gomlx inspect` and `gomlx key`."""

import json
from pathlib import Path

import pytest

from tests import families, saved_models
from tests.test_cli import gomlx, write


def test_inspect_shows_kind_proof_and_key_space(tmp_path: Path) -> None:
    saved_models.keras(tmp_path / "m")
    done = gomlx("inspect", "m", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    found = [(i["input"], i["kind"], i["distinct"]) for i in document["inputs"]]
    assert found == [
        ("city", "vocabulary", 4),
        ("day", "vocabulary", 4),
        ("price", "buckets", 3),
    ]
    assert "(3 values)" in document["inputs"][0]["proof"]
    assert document["key_space"] == 48
    table = gomlx("inspect", "m", cwd=tmp_path).stdout
    assert "vocabulary" in table
    assert "keys: at most 48" in table


def test_inspect_says_why_not_and_follows_the_config(tmp_path: Path) -> None:
    families.bucketized_and_used(tmp_path / "m")
    write(tmp_path, "models: [{id: a, url: ./m, inputs: [{name: x, precision: 2}]}]")
    plain = gomlx("inspect", "m", "--json", cwd=tmp_path).stdout
    (line,) = json.loads(plain)["inputs"]
    assert (line["kind"], line["distinct"]) == ("exact", None)
    assert "AddV2" in line["proof"]
    done = gomlx("inspect", "a", "-c", "config.yaml", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["inputs"][0]["kind"] == "rounded"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("inspect", "nothing"), "no saved_model.pb there"),
        (("key", "-c", "config.yaml", "b", "{}"), "no model 'b'; there are: a"),
        (("key", "-c", "config.yaml", "a", "{"), "malformed JSON"),
        (("key", "-c", "config.yaml", "a", "{}"), "input 'w': missing"),
        (
            ("key", "-c", "config.yaml", "a", '{"w":["x"],"batch_size":1}'),
            "expected one row",
        ),
    ],
)
def test_what_is_wrong_is_one_sentence(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    saved_models.lookup(tmp_path / "m", ["a"])
    write(tmp_path, "models: [{id: a, url: ./m}]")
    done = gomlx(*(a.replace('"w"', '"word"') for a in arguments), cwd=tmp_path)
    assert done.returncode == 1
    assert message.replace("'w'", "'word'") in done.stderr
    assert "Traceback" not in done.stderr


def test_key_says_what_collapsed_and_what_differs(tmp_path: Path) -> None:
    families.masked(tmp_path / "m")
    write(tmp_path, "models: [{id: a, url: ./m}]")

    def shown(*rows: str) -> str:
        done = gomlx("key", "-c", "config.yaml", "a", *rows, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    same = shown('{"w":"x","n":1}', '{"w":"y","n":2}')
    assert "'x' → '[UNK]' (not among the 3 values that the model knows)" in same
    assert same.endswith("the rows share an entry\n")
    first, second = (json.loads(part + "}")["key"] for part in _documents(same))
    assert first == second
    other = shown('{"w":"x","n":7}', '{"w":"rome","n":7}')
    assert other.endswith("the rows differ in: w\n")


def _documents(text: str) -> list[str]:
    return text.split("\n}\n")[:2]
