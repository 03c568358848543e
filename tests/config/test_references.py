"""Configs whose parts contradict each other are refused."""

from pathlib import Path
from typing import Any

import pytest

from gomlx.cli.service import stage_request
from gomlx.config.load import load_config
from tests.config.conftest import (
    MINIMAL,
    NEAR,
    loaded,
    problem,
    problems,
    store,
    tier,
    write,
)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("models: [{id: a, url: x}, {id: b, url: x}, {id: a, url: y}]\n", "models[2]"),
        (MINIMAL + "datastores: [{id: b}, {id: a}, {id: b}]\n", "datastores[2]"),
    ],
)
def test_an_id_given_twice_is_refused(path: Path, text: str, where: str) -> None:
    (found,) = problems(path, text)
    assert f"{where}.id: " in found
    assert f"is used by {where.replace('2', '0')}" in found


def test_a_model_and_a_datastore_may_share_an_id(path: Path) -> None:
    loaded(path, MINIMAL + "datastores: [{id: ml0}]\n")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("precision: 1", None),
        ("missing: nan", None),
        ("missing: nan, precision: 1", None),
        ("missing: nan, wildcard: true", None),
        (
            "",
            "auxiliary, or missing or rename, got none",
        ),
        ("missing: nan, precision: 1, wildcard: true", "got precision and wildcard"),
        ("missing: nan, auxiliary: true", "an auxiliary input may be null anyway"),
        (
            "missing: null, auxiliary: true, wildcard: true",
            "got wildcard and auxiliary",
        ),
        ("missing: none", "missing"),
    ],
)
def test_what_the_config_may_say_of_an_input(
    path: Path, options: str, reason: str | None
) -> None:
    text = f"models:\n- id: a\n  url: x\n  inputs: [{{name: x, {options}}}]\n"
    if reason is None:
        loaded(path, text)
        return
    (found,) = problems(path, text)
    assert "models[0].inputs[0]" in found
    assert reason in found


@pytest.mark.parametrize("runs", [1, 2])
def test_a_transformer_has_one_run_at_a_time(path: Path, runs: int) -> None:
    text = f"models: [{{id: a, url: x, transformer: 'm:f', batch: {{runs: {runs}}}}}]\n"
    if runs == 1:
        loaded(path, text)
        return
    (found,) = problems(path, text)
    assert "models[0].batch.runs: a transformer takes the interpreter" in found


def test_connections_have_unique_ids(tmp_path: Path) -> None:
    found = problem(tmp_path, connections=[NEAR, NEAR])
    assert found == "connections[1].id: 'near' is used by connections[0]"


@pytest.mark.parametrize(
    ("name", "hint"),
    [("shard", "did you mean 'shared'?"), ("zzz", "it must be in datastores")],
)
def test_an_unknown_datastore_is_refused(path: Path, name: str, hint: str) -> None:
    text = f"models:\n- id: a\n  url: x\n  datastore: {name}\n"
    (found,) = problems(path, text + "datastores: [{id: shared}]\n")
    assert found == f"line 4: models[0].datastore: no datastore '{name}'; {hint}"


def test_a_proxy_that_is_no_address_is_refused(path: Path) -> None:
    text = MINIMAL + "endpoint:\n  trusted_proxies: [10.0.0.0/8, nearby]\n"
    (found,) = problems(path, text)
    assert found == (
        "line 3: endpoint.trusted_proxies[1]: expected an address or CIDR, got 'nearby'"
    )


@pytest.mark.parametrize(
    ("tiers", "expected"),
    [
        ([tier(connection="neer")], "no connection 'neer'; did you mean 'near'?"),
        ([tier(connection="zzz")], "no connection 'zzz'; it must be in connections"),
        ([tier(), tier()], "'near' is a tier of this datastore already"),
    ],
)
def test_tiers_name_connections_once(
    tmp_path: Path, tiers: list[Any], expected: str
) -> None:
    where = f"datastores[0].tiers[{len(tiers) - 1}].connection"
    assert problem(tmp_path, **store(tiers=tiers)) == f"{where}: {expected}"


def test_a_datastore_needs_memory_or_tiers(tmp_path: Path) -> None:
    found = problem(tmp_path, **store(memory_mb=0))
    assert found == "datastores[0]: expected memory_mb above 0 or tiers, got neither"
    config = load_config(write(tmp_path, **store(memory_mb=0, tiers=[tier()])))
    assert config.datastores[0].memory_mb == 0


@pytest.mark.parametrize(
    ("coalesce", "options", "expected"),
    [
        ("host", None, "a datastore with memory_mb"),
        ("host", {"memory_mb": 0, "tiers": [tier()]}, "a datastore with memory_mb"),
        ("fleet", None, "a datastore with tiers"),
        ("fleet", {}, "a datastore with tiers"),
        (
            "fleet",
            {"tiers": [tier(read_only=True)]},
            "the nearest tier not to be read_only",
        ),
    ],
)
def test_coalescing_needs_a_shared_store(
    tmp_path: Path, coalesce: str, options: dict[str, Any] | None, expected: str
) -> None:
    model = {"id": "m", "url": "x", "coalesce": coalesce}
    parts: dict[str, Any] = {"models": [model]}
    if options is not None:
        model["datastore"] = "s"
        parts |= store(**options)
    found = problem(tmp_path, **parts)
    assert found == f"models[0].coalesce: {coalesce} needs {expected}"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {"password": "secret", "password_file": "f"},
            "password_file: there is a password already; give one of the two",
        ),
        ({"ca_file": "f"}, "ca_file: only rediss:// urls use it"),
        ({"url": "rediss://h", "key_file": "f"}, "key_file: expected a cert_file with"),
    ],
)
def test_contradicting_options_of_a_connection_are_refused(
    tmp_path: Path, options: dict[str, Any], expected: str
) -> None:
    found = problem(tmp_path, connections=[NEAR | options])
    assert found.startswith(f"connections[0].{expected}")
    assert "secret" not in found


@pytest.mark.parametrize(
    "url",
    [
        "",
        "h:6379",
        "http://u:secret@h",
        "redis:u:secret@h",
        "REDIS://h",
        "redis://",
        "redis://u:secret@",
        "redis://h:port",
        "redis://h:70000",
        "redis://h/x",
        "redis://h/0/1",
        "redis://h/-1",
        "redis://h,g",
        "redis:///0",
        "redis://u:my secret@h",
        "redis://h#f",
        "redis://h?password=secret",
        "unix://",
        "unix:///",
        "unix://h/p",
        "unix:///p?db=x",
        "redis+sentinel://h",
        "redis+sentinel://h/",
        "redis+sentinel://h/m/0/1",
        "redis+cluster://h/1",
        "redis+cluster://",
        "redis+cluster://h,",
        "redis://[h",
    ],
)
def test_an_invalid_url_is_refused(tmp_path: Path, url: str) -> None:
    found = problem(tmp_path, connections=[NEAR | {"url": url}])
    assert found.startswith("connections[0].url: expected a url ")
    assert "secret" not in found


@pytest.mark.parametrize(
    ("option", "wanted"),
    [
        ("", None),
        (", signatures: all", None),
        (", signatures: none", ()),
        (", signatures: []", ()),
        (", signatures: [t, u]", ("t", "u")),
    ],
)
def test_which_further_signatures_are_wanted(
    path: Path, option: str, wanted: tuple[str, ...] | None
) -> None:
    (model,) = loaded(path, f"models: [{{id: a, url: /m{option}}}]\n").models
    assert stage_request(model, path).signatures == wanted


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ("id: a, signatures: [serving_default]", "models[0].signatures[0]"),
        ("id: a, signature: s, signatures: [t, s]", "models[0].signatures[1]"),
        ("id: a, signatures: [t, t]", "models[0].signatures[1]"),
        ("id: a, signatures: [t/..]", "models[0].signatures"),
        ("id: a, signatures: any", "models[0].signatures"),
        ('id: "a:t"', "models[0].id"),
    ],
)
def test_a_signature_that_cannot_be_served(
    path: Path, options: str, where: str
) -> None:
    (found,) = problems(path, f"models: [{{{options}, url: x}}]\n")
    assert where in found
