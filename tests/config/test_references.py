"""Configs whose parts contradict each other; and what a config may show."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from gomlx.cache.redis.address import FORMS, parse
from gomlx.config.schema import load, masked_config
from gomlx.errors import ConfigInvalid

NEAR = {"id": "near", "url": "redis://h"}


def write(path: Path, **parts: Any) -> Path:
    document = {"models": [{"id": "m", "url": "./m"}], "connections": [NEAR]} | parts
    (path / "config.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    return path / "config.yaml"


def problem(path: Path, **parts: Any) -> str:
    with pytest.raises(ConfigInvalid) as caught:
        load(write(path, **parts))
    (found,) = caught.value.problems
    return found.partition(": ")[2]


def store(**options: Any) -> dict[str, Any]:
    return {"datastores": [{"id": "s"} | options]}


def tier(**options: Any) -> dict[str, Any]:
    return {"connection": "near"} | options


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
    config = load(write(tmp_path, **store(memory_mb=0, tiers=[tier()])))
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
def test_sharing_computations_needs_a_place_to_agree(
    tmp_path: Path, coalesce: str, options: dict[str, Any] | None, expected: str
) -> None:
    model = {"id": "m", "url": "x", "coalesce": coalesce}
    parts: dict[str, Any] = {"models": [model]}
    if options is not None:
        model["datastore"] = "s"
        parts |= store(**options)
    found = problem(tmp_path, **parts)
    assert found == f"models[0].coalesce: {coalesce} needs {expected}"


def test_connections_have_ids_of_their_own(tmp_path: Path) -> None:
    found = problem(tmp_path, connections=[NEAR, NEAR])
    assert found == "connections[1].id: 'near' is taken by connections[0]"


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
def test_options_of_a_connection_that_contradict_each_other(
    tmp_path: Path, options: dict[str, Any], expected: str
) -> None:
    found = problem(tmp_path, connections=[NEAR | options])
    assert found.startswith(f"connections[0].{expected}")
    assert "secret" not in found


@pytest.mark.parametrize(
    "url",
    [
        *("", "h:6379", "http://u:secret@h", "redis:u:secret@h", "REDIS://h"),
        *("redis://", "redis://u:secret@", "redis://h:port", "redis://h:70000"),
        *("redis://h/x", "redis://h/0/1", "redis://h/-1", "redis://h,g", "redis:///0"),
        *("redis://u:my secret@h", "redis://h#f", "redis://h?password=secret"),
        *("unix://", "unix:///", "unix://h/p", "unix:///p?db=x"),
        *("redis+sentinel://h", "redis+sentinel://h/", "redis+sentinel://h/m/0/1"),
        *("redis+cluster://h/1", "redis+cluster://", "redis+cluster://h,"),
        "redis://[h",
    ],
)
def test_a_url_that_leads_nowhere_is_refused(tmp_path: Path, url: str) -> None:
    found = problem(tmp_path, connections=[NEAR | {"url": url}])
    assert found.startswith("connections[0].url: expected a url ")
    assert "secret" not in found


@pytest.mark.parametrize("form", FORMS.values())
def test_the_forms_that_are_told_are_taken(form: str) -> None:
    address = parse(form)
    assert (address.kind == "unix") == (not address.hosts)
    assert address.tls == form.startswith("rediss")


def test_a_url_is_taken_apart() -> None:
    address = parse(
        "rediss+sentinel://u%40:p%2Fw@[::1],b:9/main/3"
        "?sentinel_username=su&sentinel_password=sp%26"
    )
    assert (address.kind, address.tls) == ("sentinel", True)
    assert address.hosts == (("::1", 26379), ("b", 9))
    assert (address.master, address.database) == ("main", 3)
    assert (address.username, address.password) == ("u@", "p/w")
    assert (address.sentinel_username, address.sentinel_password) == ("su", "sp&")
    assert "p/w" not in repr(address)
    assert "sp&" not in repr(address)


def test_passwords_are_never_shown(tmp_path: Path) -> None:
    connections = [
        NEAR | {"password": "secret"},
        {"id": "url", "url": "redis://u:secret@h"},
        {"id": "s", "url": "redis+sentinel://h/m?sentinel_password=secret"},
    ]
    shown = masked_config(load(write(tmp_path, connections=connections)))
    assert "secret" not in str(shown)
    assert shown["connections"][0]["password"] == "***"
    assert shown["connections"][0]["url"] == "redis://h"


@pytest.mark.parametrize(
    "text",
    [
        "connections: {id: near, url: 'redis://h', password: 90210}",
        "connections: [{id: near, url: 'redis://h', password: 90210}]",
        "connections: [{id: near, url: [90210]}]",
        "connections: [{id: near, url: {'redis://u:90210@h': 1}}]",
        "connections: [[90210]]",
        "connections:\n- id: near\n  password: '90210",
        "connections:\n- id: near\n  password: 90210: 5",
    ],
)
def test_a_wrong_config_does_not_tell_passwords(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"models: [{{id: a, url: x}}]\n{text}")
    with pytest.raises(ConfigInvalid) as caught:
        load(path)
    assert "90210" not in str(caught.value)


def test_files_are_relative_to_the_config(tmp_path: Path) -> None:
    (tmp_path / "word").write_text(" secret\n")
    files = {"password_file": "word", "ca_file": "ca", "cert_file": "/c"}
    secured = {"id": "near", "url": "rediss://h"} | files
    (connection,) = load(write(tmp_path, connections=[secured])).connections
    assert connection.read_password() == "secret"
    assert (connection.ca_file, connection.cert_file) == (str(tmp_path / "ca"), "/c")


def test_a_password_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    lost = NEAR | {"password_file": "lost"}
    (connection,) = load(write(tmp_path, connections=[lost])).connections
    with pytest.raises(ConfigInvalid, match=r"connection 'near': password_file.*lost"):
        connection.read_password()
