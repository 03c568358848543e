"""Each fault of a cache is found, by its own check, with the requests that show it."""

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from gomlx.cli import app
from gomlx.conformance.suite import CHECKS
from tests.support.caching_server import (
    Faults,
    as_floats,
    by_number,
    first_row,
    flattened,
    serving,
    without_model,
    without_n,
    without_outputs,
)

VERSIONS = {
    "weights-only",
    "vocabulary-order",
    "same-number",
    "unknown-words",
    "rolling",
    "by-number",
}
# A fault, what it gets wrong, and in which protocol.
FAULTS = {
    "flattened": (Faults(flattened), {"separators", "shapes"}, "oip"),
    "flattened, mly": (Faults(flattened), {"separators", "shapes"}, "mly"),
    "flattened, tfserving": (Faults(flattened), {"separators", "shapes"}, "tfserving"),
    "without model": (Faults(without_model), {"two-models"} | VERSIONS, "oip"),
    "version's number": (Faults(by_number), {"same-number"}, "oip"),
    "without outputs": (Faults(without_outputs), {"outputs"}, "oip"),
    "numbers as floats": (Faults(as_floats), {"dtypes"}, "mly"),
    "first row of a batch": (
        Faults(first_row),
        {"changed-row", "rolling"},
        "mly",
    ),
    "keeps the id": (Faults(keeps="id"), {"request-ids"}, "oip"),
    "keeps the coding": (Faults(keeps="coding"), {"headers"}, "mly"),
    "keeps errors": (Faults(keeps="errors"), {"partial-failure"}, "oip"),
    "without n": (Faults(without_n), {"deployed"}, "mly"),
    "never expires": (Faults(), {"expiry"}, "mly"),
}


def ask(url: str, models: Path, *words: str) -> Result:
    arguments = ("conformance", url, "--model-dir", str(models), "--format", "triton")
    return CliRunner().invoke(app, [*arguments, "--wait-seconds", "10", *words])


def by_result(done: Result) -> dict[str, dict[str, Any]]:
    results: dict[str, dict[str, Any]] = {}
    for one in json.loads(done.stdout)["checks"]:
        results.setdefault(one["result"], {})[one["name"]] = one
    return results


@pytest.mark.parametrize("protocol", ["mly", "tfserving", "oip"])
def test_a_right_server(protocol: str, tmp_path: Path) -> None:
    models = tmp_path / "models"
    with serving(models, Faults(ttl_seconds=1.0)) as url:
        words = ("--protocol", protocol, "--ttl-seconds", "1", "--json")
        done = ask(url, models, *words)
    results = by_result(done)
    assert done.exit_code == 0, done.output
    assert "wrong" not in results
    cannot = {"two-hosts", "poisoned", "restart"}
    if protocol != "oip":
        cannot |= {"outputs", "request-ids"}
    if protocol == "mly":
        cannot |= {"by-number"}
    assert set(results["does not apply"]) == cannot
    assert all(one["note"] for one in results["does not apply"].values())
    assert len(results["right"]) == len(CHECKS) - len(cannot)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found(name: str, tmp_path: Path) -> None:
    faults, expected, protocol = FAULTS[name]
    models = tmp_path / "models"
    ttl = ("--ttl-seconds", "0") if "expiry" in expected else ()
    with serving(models, faults) as url:
        done = ask(url, models, "--protocol", protocol, "--json", *ttl)
        wrong = by_result(done)["wrong"]
        assert done.exit_code == 1, done.output
        assert set(wrong) == expected
        for one in wrong.values():
            assert len(one["requests"]) >= 2
            replayed(one["requests"][-1], url)


def replayed(request: dict[str, Any], url: str) -> None:
    """Run the curl line: it reaches the server, and shows an answer."""
    words = shlex.split(request["curl"])
    assert words[0] == "curl"
    assert words[2].startswith(url)
    done = subprocess.run(words, capture_output=True, check=True, timeout=30)
    assert done.stdout


def test_a_wrong_answer_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    models = tmp_path / "models"
    with serving(models, Faults(flattened)) as url:
        done = ask(url, models, "--only", "shapes", "--only", "two-models")
    assert done.exit_code == 1
    table, _, shown = done.stdout.partition("\nshapes: ")
    assert "two-models" in table
    lines = shown.splitlines()
    curls = [line for line in lines if line.startswith(f"curl -s {url}")]
    assert len(curls) == 2
    assert "right: [{" in shown
    assert lines[-1] == "2 right, 1 wrong, 0 does not apply, 0 failed"


def test_what_fails_is_not_right(tmp_path: Path) -> None:
    for_nobody = ask("http://127.0.0.1:9", tmp_path, "--wait-seconds", "0", "--json")
    failed = by_result(for_nobody)["failed"]
    assert for_nobody.exit_code == 2
    assert set(failed) == {"deployed"}
    note = failed["deployed"]["note"]
    assert "version 1 of conformance_words was not served within 0 s: http" in note
    models = tmp_path / "models"
    with serving(models, Faults()) as url:
        words = ("--only", "restart", "--restart-command", "exit 3", "--json")
        done = ask(url, models, *words)
    results = by_result(done)
    assert done.exit_code == 2
    assert set(results["right"]) == {"deployed"}
    assert results["failed"]["restart"]["note"] == "exit 3: exit code 3"


def test_what_cannot_be_asked_is_a_usage_error(tmp_path: Path) -> None:
    for words, problem in (
        (
            ("--only", "everything"),
            "no check 'everything'; there are: deployed, repeated",
        ),
        (("--load", "api"), "--load api: mly has no request for it"),
        (("--other-url", "http://127.0.0.1:9"), "--other-model-dir go together"),
    ):
        done = ask("http://127.0.0.1:9", tmp_path, *words)
        assert done.exit_code == 2, done.output
        assert problem in done.stderr
    done = ask("127.0.0.1:9", tmp_path)
    assert done.exit_code == 2
    assert "expected a URL" in done.stderr
