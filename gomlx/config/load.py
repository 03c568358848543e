"""config.yaml → a checked Config; a Config → what people may see of it.

All problems are reported at once: unknown keys (with the nearest known one), wrong
types and bounds (types.py), references that lead nowhere (references.py).
"""

from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from gomlx.config.references import reference_problems
from gomlx.config.schema import Config, Endpoint, Model
from gomlx.config.types import type_problems
from gomlx.config.yaml import read_yaml
from gomlx.errors import ConfigInvalid
from gomlx.runtime.masking import masked

_Section = TypeVar("_Section", bound=Struct)


def load_config(path: Path) -> Config:
    """Read and check a config file; local paths in it are relative to its folder.

    Raises ConfigInvalid.
    """
    document = read_yaml(path)
    problems = [*type_problems(Config, document)]
    if not problems:
        config = msgspec.convert(document.data, Config)
        problems = [*reference_problems(config)]
    if problems:
        raise ConfigInvalid(str(path), [document.located(one) for one in problems])
    return _absolute(config, path.parent)


def masked_config(config: Config) -> dict[str, Any]:
    """Return the config as JSON types, with secrets replaced by ***."""
    shown: dict[str, Any] = msgspec.to_builtins(config)
    for section in (*shown["models"], *shown["connections"]):
        section["url"] = masked(section["url"])
    for connection in shown["connections"]:
        if connection["password"] is not None:
            connection["password"] = "***"
    tls = shown["endpoint"]["tls"]
    if tls and tls["key_password"] is not None:
        tls["key_password"] = "***"
    return shown


def _absolute(config: Config, base: Path) -> Config:
    """Return a config whose local paths are absolute; they were relative to base."""
    connection_files = ["password_file", "ca_file", "cert_file", "key_file"]
    connection_files.append("sign_key_file")
    connections = [
        _with_absolute(connection, connection_files, base)
        for connection in config.connections
    ]
    return replace(
        _with_absolute(config, ["run_dir"], base),
        endpoint=_absolute_endpoint(config.endpoint, base),
        models=tuple(_absolute_model(one, base) for one in config.models),
        connections=tuple(connections),
    )


def _absolute_model(model: Model, base: Path) -> Model:
    return model if "://" in model.url else _with_absolute(model, ["url"], base)


def _absolute_endpoint(endpoint: Endpoint, base: Path) -> Endpoint:
    if endpoint.tls is None:
        return endpoint
    files = ["certificate", "key", "client_ca"]
    return replace(endpoint, tls=_with_absolute(endpoint.tls, files, base))


def _with_absolute(section: _Section, names: list[str], base: Path) -> _Section:
    """Return a section with these options, which are paths or None, made absolute."""
    given = {name: getattr(section, name) for name in names}
    paths = {
        name: str((base / path).absolute()) for name, path in given.items() if path
    }
    return replace(section, **paths)
