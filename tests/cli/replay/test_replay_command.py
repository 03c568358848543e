"""`gomlx replay` of a log that a service has written, over that service."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from gomlx.cli import app
from tests.support import saved_models
from tests.support.service import Service, running, wait_for

Run = Callable[..., Result]
ROWS = 40


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that has logged rows of two models, and one batch together."""
    folder = tmp_path_factory.mktemp("replay")
    saved_models.scale(folder / "m", 2.0)
    log = {"to": "logs/rows.jsonl", "fields": "all"}
    config = {
        "models": [
            {"id": "m", "url": "m", "datastore": "a", "log": log},
            {
                "id": "list",
                "url": "m",
                "batch": {"rows": "together"},
                "log": log,
            },
        ],
        "datastores": [{"id": "a", "memory_mb": 16}],
    }
    with running(folder, config) as service:
        for n in range(ROWS):
            assert service.post("m", {"x": n + 0.5}).status_code == 200
        body = {"batch_size": 2, "x": [1.5, 2.5]}
        assert service.post("list", body).status_code == 200
        wait_for(log_of(service).exists)
        wait_for(lambda: len(log_of(service).read_bytes().splitlines()) == ROWS + 1)
        yield service


def log_of(service: Service) -> Path:
    return service.folder / "logs" / "rows.0.jsonl"


@pytest.fixture
def log(service: Service, tmp_path: Path) -> Path:
    """A copy, to which the replay itself adds nothing."""
    lines = log_of(service).read_bytes().splitlines(keepends=True)[: ROWS + 1]
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"".join(lines))
    return path


@pytest.fixture
def run(service: Service, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("GOMLX_HOST", service.url)
    return lambda *words: CliRunner().invoke(app, ("replay", *map(str, words)))


def test_the_same_service_answers_the_same(run: Run, log: Path) -> None:
    found = run(log, "--speed", "max", "--json")
    assert found.exit_code == 0, found.output
    document = json.loads(found.stdout)
    assert (document["rows"], document["equal"]) == (ROWS + 1, ROWS + 1)
    assert document["rows_by_tier"]["L1"] == ROWS
    assert document["versions"]["logged"] == document["versions"]["answered"]
    found = run(log, "--speed", "max")
    assert f"{ROWS + 1} rows: {ROWS + 1} equal, 0 close, 0 different" in found.stdout


def test_answers_that_differ(run: Run, log: Path) -> None:
    text = log.read_text()
    log.write_text(text.replace('{"y":1.0}', '{"y":1.5}').replace("5.0}", "5.0000001}"))
    found = run(log, "--speed", "max", "--json", "--model", "m")
    assert found.exit_code == 1
    document = json.loads(found.stdout)
    assert (document["rows"], document["different"]) == (ROWS, 1)
    assert document["close"] > 0
    example = {"model": "m", "row": {"x": 0.5}, "logged": {"y": 1.5}}
    assert document["examples"] == [example | {"answer": {"y": 1.0}}]
    assert run(log, "--speed", "max", "--tolerance", "1").exit_code == 0


def test_in_time(run: Run, log: Path) -> None:
    """Two rows a second apart, and ten times as fast."""
    lines = [json.loads(line) for line in log.read_text().splitlines()[:2]]
    lines[0]["time"] = "2026-11-28T23:59:59.500000Z"
    lines[1]["time"] = "2026-11-29T00:00:00.500000Z"
    log.write_text("".join(f"{json.dumps(one)}\n" for one in reversed(lines)))
    other = log.with_name("other.jsonl")
    lines = log.read_text().splitlines(keepends=True)
    log.write_text(lines[0])
    other.write_text(lines[1])
    found = run(log, other, "--json")
    assert json.loads(found.stdout)["seconds"] >= 1.0
    found = run(log, other, "--json", "--speed", "10")
    assert json.loads(found.stdout)["seconds"] >= 0.1


def test_lines_without_a_row(run: Run, log: Path) -> None:
    row, *_ = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b'{"logger":"access"}\n' + row + b'{"time":"2026-')
    found = run(log, "--speed", "max", "--json")
    assert found.exit_code == 0
    document = json.loads(found.stdout)
    assert (document["rows"], document["other_lines"]) == (1, 2)


def failures(found: Result) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(found.stdout)
    assert document["failed"] == document["rows"]
    failures: dict[str, Any] = document["failures"]
    return failures


def test_rows_that_the_service_refuses(run: Run, log: Path) -> None:
    log.write_text(log.read_text().replace('"row":{"x"', '"row":{"z"'))
    found = run(log, "--speed", "max", "--json", "--model", "m")
    assert found.exit_code == 1
    (message,) = failures(found)
    assert message.startswith("InvalidInput")


def test_a_service_that_is_not_there(run: Run, log: Path) -> None:
    words = ("--speed", "max", "--json", "--model", "m", "--timeout", "0.5")
    found = run(log, *words, "--host", "http://127.0.0.1:9")
    assert found.exit_code == 1
    assert all("127.0.0.1:9" in message for message in failures(found))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--speed", "fast"], "--speed: expected a number above 0, or max, got 'fast'"),
        (["--speed", "0"], "--speed: expected a number above 0"),
        (["--model", "other"], "there are no rows"),
        (["--host", "ftp://a"], "--host: "),
    ],
)
def test_wrong_arguments(run: Run, log: Path, words: list[str], message: str) -> None:
    found = run(log, *words)
    assert found.exit_code == 2
    assert message in found.stderr


def test_a_file_that_is_not_there(run: Run, tmp_path: Path) -> None:
    found = run(tmp_path / "none.jsonl")
    assert found.exit_code == 2
