"""config.yaml → a checked Config; a Config → what people may see of it.

A value may hold variables of the environment (yaml.py), and the environment may replace
options (environment.py). All problems are reported at once: unknown keys (with the
nearest known one), wrong types and bounds (types.py), references that lead nowhere
(references.py).
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from gomlx.config.environment import overridden
from gomlx.config.references import reference_problems
from gomlx.config.schema import Auth, Config, Endpoint, LineFile, LoadedConfig, Model
from gomlx.config.types import type_problems
from gomlx.config.yaml import YamlDocument, read_yaml
from gomlx.errors import ConfigInvalid
from gomlx.runtime.masking import masked, without_folders

_Section = TypeVar("_Section", bound=Struct)
_Log = TypeVar("_Log", bound=LineFile)


_TLS_FILES = ["certificate", "key", "client_ca"]
_CONNECTION_FILES = ["password_file", "ca_file", "cert_file", "key_file"]
_CONNECTION_FILES.append("sign_key_file")


def load_config(path: Path) -> LoadedConfig:
    """Read and check a config file; local paths in it are relative to its folder.

    Raises ConfigInvalid.
    """
    document = read_yaml(path, os.environ)
    return _checked(document, str(path), path.parent)


def config_of(data: Mapping[str, Any], folder: Path) -> LoadedConfig:
    """Check a config that is no file; local paths in it are relative to a folder.

    Raises ConfigInvalid.
    """
    return _checked(YamlDocument(dict(data), {}), "config", folder)


def _checked(document: YamlDocument, what: str, folder: Path) -> LoadedConfig:
    document = overridden(document, Config, os.environ)
    problems = [*type_problems(Config, document)]
    if not problems:
        config = msgspec.convert(document.data, Config)
        problems = [*reference_problems(config)]
    if problems:
        raise ConfigInvalid(what, [document.located(one) for one in problems])
    return _absolute(config, folder)


def encoded(config: LoadedConfig) -> str:
    """Return a config as a line that `decoded` reads; it may hold passwords."""
    return msgspec.json.encode(config).decode()


def decoded(line: str) -> LoadedConfig:
    """Return the config of a line of `encoded`."""
    return msgspec.json.decode(line, type=LoadedConfig)


def masked_config(config: Config) -> dict[str, Any]:
    """Return the config as JSON types, with secrets replaced by ***.

    Paths are relative to its file's folder; of one elsewhere only the name is left.
    """
    folder = getattr(config, "folder", "")
    shown: dict[str, Any] = msgspec.to_builtins(config)
    for section in (*shown["models"], *shown["connections"]):
        section["url"] = masked(section["url"])
    for connection in shown["connections"]:
        if connection["password"] is not None:
            connection["password"] = "***"
    if (tracing := shown["tracing"]) and tracing["endpoint"]:
        tracing["endpoint"] = masked(tracing["endpoint"])
    tls = shown["endpoint"]["tls"]
    if tls and tls["key_password"] is not None:
        tls["key_password"] = "***"
    shown.pop("folder", None)
    _show_paths(shown, ["run_dir"], folder)
    _show_paths(shown["endpoint"], ["socket"], folder)
    _show_paths(tls or {}, _TLS_FILES, folder)
    auth = shown["endpoint"]["auth"] or {"clients": ()}
    for section in (shown["endpoint"]["admin"] or {}, *auth["clients"]):
        _show_paths(section, ["token_file"], folder)
    _show_paths(shown["access_log"] or {}, ["to"], folder)
    for model in shown["models"]:
        _show_paths(model, ["url"], folder)
        _show_paths(model["log"] or {}, ["to"], folder)
    for connection in shown["connections"]:
        _show_paths(connection, ["url", *_CONNECTION_FILES], folder)
    return shown


def _show_paths(section: dict[str, Any], names: list[str], folder: str) -> None:
    for name in names:
        if path := section.get(name):
            is_inside = folder and Path(path).is_relative_to(folder)
            section[name] = (
                str(Path(path).relative_to(folder))
                if is_inside
                else without_folders(path)
            )


def _absolute(config: Config, base: Path) -> LoadedConfig:
    """Return a config whose local paths are absolute; they were relative to base."""
    options = {name: getattr(config, name) for name in config.__struct_fields__}
    options |= {
        "run_dir": _with_absolute(config, ["run_dir"], base).run_dir,
        "endpoint": _absolute_endpoint(config.endpoint, base),
        "access_log": config.access_log and _absolute_log(config.access_log, base),
        "models": tuple(_absolute_model(one, base) for one in config.models),
        "connections": tuple(
            _with_absolute(one, _CONNECTION_FILES, base) for one in config.connections
        ),
    }
    return LoadedConfig(**options, folder=str(base.absolute()))


def _absolute_log(log: _Log, base: Path) -> _Log:
    return log if log.to == "stdout" else _with_absolute(log, ["to"], base)


def _absolute_model(model: Model, base: Path) -> Model:
    model = replace(model, log=model.log and _absolute_log(model.log, base))
    return model if "://" in model.url else _with_absolute(model, ["url"], base)


def _absolute_endpoint(endpoint: Endpoint, base: Path) -> Endpoint:
    tls = endpoint.tls and _with_absolute(endpoint.tls, _TLS_FILES, base)
    admin = endpoint.admin and _with_absolute(endpoint.admin, ["token_file"], base)
    auth = endpoint.auth and Auth(
        clients=tuple(
            _with_absolute(one, ["token_file"], base) for one in endpoint.auth.clients
        )
    )
    endpoint = _with_absolute(endpoint, ["socket"], base)
    return replace(endpoint, tls=tls, admin=admin, auth=auth)


def _with_absolute(section: _Section, names: list[str], base: Path) -> _Section:
    """Return a section with these options, which are paths or None, made absolute."""
    given = {name: getattr(section, name) for name in names}
    paths = {
        name: str((base / path).absolute()) for name, path in given.items() if path
    }
    return replace(section, **paths)
