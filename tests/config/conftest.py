"""Config files that tests write and load."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from gomlx.config.load import load_config
from gomlx.config.schema import Config
from gomlx.errors import ConfigInvalid

MINIMAL = "models: [{id: ml0, url: ./ml0}]\n"
NEAR = {"id": "near", "url": "redis://h"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config.yaml"


def loaded(path: Path, text: str) -> Config:
    """Write a config file, and load it."""
    path.write_text(text)
    return load_config(path)


def problems(path: Path, text: str) -> list[str]:
    """Write an invalid config file, and return its problems."""
    with pytest.raises(ConfigInvalid) as caught:
        loaded(path, text)
    return caught.value.problems


def write(path: Path, **parts: Any) -> Path:
    """Write a config of one model and one connection; parts: sections beside them."""
    document = {"models": [{"id": "m", "url": "./m"}], "connections": [NEAR]} | parts
    (path / "config.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    return path / "config.yaml"


def problem(path: Path, **parts: Any) -> str:
    """Return the only problem of such a config, without its line."""
    with pytest.raises(ConfigInvalid) as caught:
        load_config(write(path, **parts))
    (found,) = caught.value.problems
    return found.partition(": ")[2]


def store(**options: Any) -> dict[str, Any]:
    return {"datastores": [{"id": "s"} | options]}


def tier(**options: Any) -> dict[str, Any]:
    return {"connection": "near"} | options
