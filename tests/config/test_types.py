"""Unknown keys, wrong types and values out of bounds are refused, all at once."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from gomlx.config.load import load_config
from gomlx.errors import ConfigInvalid
from tests.config.conftest import MINIMAL, loaded, problems


def test_all_problems_are_reported_at_once_with_their_lines(path: Path) -> None:
    found = problems(
        path,
        "endpoint:\n"
        "  prot: 80\n"
        "  port: 70000\n"
        "log_level: loud\n"
        "models:\n"
        "  - id: a\n"
        "    url: 7\n"
        "    batch: {max_rows: 0}\n"
        "  - url: x\n"
        "modls: []\n",
    )
    starts = {
        "line 2: endpoint.prot: unknown key; did you mean 'port'?",
        "line 3: endpoint.port: expected `int` <= 65535, got 70000",
        "line 4: log_level: ",
        "line 7: models[0].url: expected `str`, got `int`, got 7",
        "line 8: models[0].batch.max_rows: expected `int` >= 1, got 0",
        "line 9: models[1].id: missing",
        "line 10: modls: unknown key; did you mean 'models'?",
    }
    assert len(found) == len(starts)
    for start in starts:
        assert any(problem.startswith(start) for problem in found), start


def test_the_message_has_one_line_per_problem_with_the_file(path: Path) -> None:
    path.write_text("modls: []\n")
    with pytest.raises(ConfigInvalid) as caught:
        load_config(path)
    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"{path}: ") for line in lines)


def test_a_key_without_a_near_match_gets_the_known_keys(path: Path) -> None:
    (found,) = problems(path, MINIMAL + "watch: {zzz: 1}\n")
    assert "watch.zzz: unknown key; known are: poll_seconds, settle_seconds" in found


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("endpoint.port", 65535),
        ("endpoint.port", 0),
        ("endpoint.workers", 1),
        ("endpoint.max_body_bytes", 1024),
        ("endpoint.max_requests", 0),
        ("watch.settle_seconds", 0),
        ("watch.poll_seconds", 0.001),
        ("datastores[0].ttl_seconds", 315360000),
        ("datastores[0].memory_mb", 1),
        ("models[0].batch.linger_ms", 1000),
    ],
)
def test_a_value_at_its_bound_is_accepted(path: Path, where: str, value: Any) -> None:
    loaded(path, yaml.safe_dump(_with(where, value)))


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("endpoint.port", 65536),
        ("endpoint.port", -1),
        ("endpoint.port", "80"),
        ("endpoint.port", 80.5),
        ("endpoint.port", True),
        ("endpoint.workers", 0),
        ("endpoint.max_body_bytes", 1023),
        ("endpoint.trusted_proxies", "127.0.0.1"),
        ("endpoint.trusted_proxies", [1]),
        ("endpoint.host", None),
        ("watch.settle_seconds", -0.1),
        ("watch.poll_seconds", 0),
        ("watch.poll_seconds", float("nan")),
        ("watch.poll_seconds", float("inf")),
        ("datastores[0].ttl_seconds", 315360001),
        ("datastores[0].ttl_seconds", 0),
        ("datastores[0].memory_mb", -1),
        ("datastores[0].queue_mb", 0),
        ("datastores[0].tiers[0].deadline_ms", 0),
        ("datastores[0].tiers[0].ttl_seconds", 0.5),
        ("datastores[0].tiers[0].max_value_bytes", 0),
        ("connections[0].timeout_seconds", 0),
        ("connections[0].max_connections", 0),
        ("connections[0].id", "a b"),
        ("models[0].coalesce", "world"),
        ("models[0].lease_ms", 0),
        ("models[0].batch.linger_ms", 1000.5),
        ("models[0].batch", None),
        ("models[0].id", ""),
        ("models[0].id", "a/b"),
        ("models[0].id", "../a"),
        ("models[0].id", "a" * 129),
        ("models[0].example", [1]),
        ("models[0].example", {1: 2}),
        ("run_dir", 5),
    ],
)
def test_a_value_past_its_bound_is_refused(path: Path, where: str, value: Any) -> None:
    (found,) = problems(path, yaml.safe_dump(_with(where, value)))
    assert f" {where}: expected " in f" {found}"


def _with(where: str, value: Any) -> dict[str, Any]:
    """A good config but for one value."""
    document: dict[str, Any] = {
        "models": [{"id": "a", "url": "x"}],
        "datastores": [{"id": "s", "tiers": [{"connection": "c"}]}],
        "connections": [{"id": "c", "url": "redis://h"}],
    }
    *sections, name = where.replace("[0]", ".0").split(".")
    inner: Any = document
    for section in sections:
        inner = inner[0] if section == "0" else inner.setdefault(section, {})
    inner[name] = value
    return document


@pytest.mark.parametrize("text", ["models: []", "models:", "models: 3", "models: {}"])
def test_a_config_without_models_is_refused(path: Path, text: str) -> None:
    (found,) = problems(path, text)
    assert found.startswith("line 1: models: expected ")


@pytest.mark.parametrize("text", ["", "# nothing\n", "[]", "5", "models", "- models"])
def test_only_a_mapping_is_a_config(path: Path, text: str) -> None:
    assert problems(path, text) == ["expected keys such as `models:`"]


@pytest.mark.parametrize("key", ["1", "null", "true", "1.5", "2024-01-01", "''"])
def test_a_key_that_is_not_text_is_unknown(path: Path, key: str) -> None:
    (found,) = problems(path, MINIMAL + f"{key}: 1\n")
    assert "unknown key" in found
