"""Secrets of a config are neither shown nor part of an error."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from gomlx.config.load import load_config, masked_config
from gomlx.errors import ConfigInvalid
from gomlx.runtime.masking import without_folders
from tests.config.conftest import MINIMAL, NEAR, loaded, write


def shown_url(path: Path, url: str) -> Any:
    text = yaml.safe_dump({"models": [{"id": "a", "url": url}]})
    return masked_config(loaded(path, text))["models"][0]["url"]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://user:secret@host:8/a", "https://***@host:8/a"),
        ("https://secret@host/a", "https://***@host/a"),
        ("https://user:sec@ret@host/a", "https://***@host/a"),
        ("https://host/a?sig=secret&t=secret", "https://host/a?sig=***&t=***"),
        ("https://u:secret@host/a?b=secret#c", "https://***@host/a?b=***#c"),
        ("s3://bucket/a", "s3://bucket/a"),
        ("/srv/a", "…/a"),
        ("file:///srv/models/a", "file://…/a"),
        ("models/a", "models/a"),
    ],
)
def test_secrets_in_a_url_are_masked(path: Path, url: str, expected: str) -> None:
    assert shown_url(path, url) == expected


def test_secrets_in_a_chained_url_are_masked(path: Path) -> None:
    assert "secret" not in shown_url(path, "simplecache::https://u:secret@host/a")


def test_a_malformed_url_is_refused_or_masked(path: Path) -> None:
    try:
        shown = shown_url(path, "https://u:secret@[host/a?t=secret")
    except ConfigInvalid:
        return
    assert "secret" not in shown


def test_masking_leaves_the_rest(path: Path) -> None:
    config = loaded(path, MINIMAL + "endpoint: {port: 9}\ndatastores: [{id: s}]\n")
    shown = masked_config(config)
    assert shown["endpoint"]["port"] == 9
    assert shown["datastores"][0]["id"] == "s"
    assert shown["models"][0]["id"] == "ml0"


def test_passwords_are_never_shown(tmp_path: Path) -> None:
    connections = [
        NEAR | {"password": "secret"},
        {"id": "url", "url": "redis://u:secret@h"},
        {"id": "s", "url": "redis+sentinel://h/m?sentinel_password=secret"},
    ]
    shown = masked_config(load_config(write(tmp_path, connections=connections)))
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
def test_an_invalid_config_does_not_reveal_passwords(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"models: [{{id: a, url: x}}]\n{text}")
    with pytest.raises(ConfigInvalid) as caught:
        load_config(path)
    assert "90210" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no /home/alice/m/saved_model.pb", "no …/saved_model.pb"),
        (
            "No such file: '/home/alice/a b/x'",
            "No such file: '…/a b/x'",
        ),
        ("file:///home/alice/m: gone", "file://…/m: gone"),
        ("unix:///home/alice/r.sock?db=0", "unix://…/r.sock?db=0"),
        (
            "s3://b/a/b, https://host/a/b",
            "s3://b/a/b, https://host/a/b",
        ),
        ("models/a/b, 1/2/3 and /x", "models/a/b, 1/2/3 and /x"),
    ],
)
def test_folders_of_absolute_paths_are_hidden(text: str, expected: str) -> None:
    assert without_folders(text) == expected
