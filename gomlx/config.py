"""config.yaml → frozen structs.

Every option is declared here, once, with its default and its bounds; the comment
beside it is what `config.example.yaml` explains at length. `load` reports all that
is wrong at once: unknown keys (with the nearest known one), wrong types, bounds,
references that lead nowhere.
"""

import difflib
import ipaddress
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import msgspec
import yaml
from msgspec import Meta, Struct

from gomlx.errors import ConfigInvalid
from gomlx.masking import masked

Id = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", max_length=128)]
_REFERENCE = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"  # package.module:function
Positive = Annotated[int, Meta(ge=1)]
_MAX_NODES = 20_000
_YEAR = 366 * 86400.0
Seconds = Annotated[float, Meta(gt=0, le=_YEAR)]


class Endpoint(Struct, frozen=True, kw_only=True):
    """Where and how the workers listen."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8080  # 0: any free one
    workers: Positive | None = None  # None: the CPU count
    max_body_bytes: Annotated[int, Meta(ge=1024)] = 1 << 20
    max_header_bytes: Annotated[int, Meta(ge=1024, le=1 << 20)] = 16 << 10
    max_connections: Positive = 10_000  # per worker
    keepalive_seconds: Seconds = 75.0  # idle connections are closed after this
    receive_seconds: Seconds = 10.0  # for one whole request to arrive
    graceful_seconds: Seconds = 30.0  # for requests to end when stopping
    worker_timeout_seconds: Positive = 60  # a worker silent for longer is replaced
    max_requests: Annotated[int, Meta(ge=0)] = 0  # recycle a worker after so many
    trusted_proxies: tuple[str, ...] = ("127.0.0.1", "::1")  # may use h2c


class Batch(Struct, frozen=True, kw_only=True):
    """How rows of different requests run together."""

    max_rows: Positive = 64
    linger_ms: Annotated[float, Meta(ge=0, le=1000)] = 0.0
    max_queued_rows: Positive = 4096


class Input(Struct, frozen=True, kw_only=True):
    """One input of a model, where the graph alone does not say how to key it."""

    name: Annotated[str, Meta(min_length=1)]
    precision: Annotated[int, Meta(ge=0, le=15)] | None = None  # decimals of a float
    wildcard: bool = False  # keyed as it is, whatever the graph proves
    auxiliary: bool = False  # not fed to the model; for the transformer


class Model(Struct, frozen=True, kw_only=True):
    """One model and its URI, /v1/api/model/{id}/."""

    id: Id
    url: str
    datastore: str | None = None  # None: answers are never cached
    signature: str = "serving_default"
    example: dict[str, Any] = {}  # a row that the model takes, to try it with
    inputs: tuple[Input, ...] = ()
    key_fields: tuple[str, ...] = ()  # auxiliary inputs that join the key
    transformer: Annotated[str, Meta(pattern=_REFERENCE)] | None = None
    batch: Batch = Batch()


class Datastore(Struct, frozen=True, kw_only=True):
    """One cache, shared by the models that name it."""

    id: Id
    memory_mb: Annotated[int, Meta(ge=1)] = 256
    ttl_seconds: Annotated[float, Meta(ge=1, le=3650 * 86400)] = 3600.0


class Watch(Struct, frozen=True, kw_only=True):
    """How changes of models are noticed and staged."""

    poll_seconds: Seconds = 5.0
    settle_seconds: Annotated[float, Meta(ge=0, le=_YEAR)] = 1.0
    stage_seconds: Seconds = 600.0


class Config(Struct, frozen=True, kw_only=True):
    """A whole config file."""

    run_dir: str | None = None
    log_level: Annotated[str, Meta(pattern="^(debug|info|warning|error)$")] = "info"
    endpoint: Endpoint = Endpoint()
    watch: Watch = Watch()
    models: Annotated[tuple[Model, ...], Meta(min_length=1)]
    datastores: tuple[Datastore, ...] = ()

    @property
    def workers(self) -> int:
        """How many worker processes run."""
        return self.endpoint.workers or os.cpu_count() or 1

    def datastore_of(self, model: Model) -> Datastore | None:
        """The datastore a model names."""
        return next((d for d in self.datastores if d.id == model.datastore), None)


def load(path: Path) -> Config:
    """Read and check a config file; local paths in it are relative to it.

    Raises ConfigInvalid.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigInvalid(str(path), [str(error)]) from None
    try:
        nodes = _walk(yaml.compose(text, yaml.SafeLoader))
        data = yaml.safe_load(text)
        lines = {where: node.start_mark.line + 1 for where, node in nodes}
        problems = [
            f"line {lines[where]}: {problem}" if where in lines else problem
            for where, problem in _problems(data, nodes)
        ]
    except (yaml.YAMLError, ValueError, AttributeError, RecursionError) as error:
        # PyYAML's own constructors raise these for `!!int b`, 2024-13-45, …
        raise ConfigInvalid(str(path), [f"not YAML: {error}"]) from None
    if problems:
        raise ConfigInvalid(str(path), problems)
    return _absolute(msgspec.convert(data, Config), path.parent)


def masked_config(config: Config) -> dict[str, Any]:
    """Return the config as JSON types, without what could open a door."""
    shown: dict[str, Any] = msgspec.to_builtins(config)
    for model in shown["models"]:
        model["url"] = masked(model["url"])
    return shown


def _problems(
    data: Any, nodes: list[tuple[str, yaml.Node]]
) -> Iterator[tuple[str, str]]:
    """Yield (path, message) of everything that is wrong."""
    if not isinstance(data, dict):
        yield "", "expected keys such as `models:`"
        return
    found = [*_repeated(nodes), *_struct_problems(Config, data, "")]
    yield from found
    if not found:
        yield from _reference_problems(msgspec.convert(data, Config))


def _struct_problems(
    struct: type[Struct], data: Any, path: str
) -> Iterator[tuple[str, str]]:
    if not isinstance(data, dict):
        yield path, f"{path}: expected keys and values, got {_shown(data)}"
        return
    fields = {field.name: field for field in msgspec.structs.fields(struct)}
    for key in [key for key in data if key not in fields]:
        where = _below(path, key)
        near = difflib.get_close_matches(str(key), fields, 1, 0.5)
        known = ", ".join(fields)
        hint = f"did you mean {near[0]!r}?" if near else f"known are: {known}"
        yield where, f"{where}: unknown key; {hint}"
    for name, field in fields.items():
        where = _below(path, name)
        if name in data:
            yield from _value_problems(field.type, data[name], where)
        elif field.required:
            yield path, f"{where}: missing"


def _value_problems(kind: Any, value: Any, path: str) -> Iterator[tuple[str, str]]:
    inner = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    if isinstance(inner, type) and issubclass(inner, Struct):
        yield from _struct_problems(inner, value, path)
        return
    (element, *_) = get_args(inner) or (None,)
    if isinstance(element, type) and issubclass(element, Struct) and value:
        if not isinstance(value, list):
            yield path, f"{path}: expected a list, got {_shown(value)}"
            return
        for i, item in enumerate(value):
            yield from _struct_problems(element, item, f"{path}[{i}]")
        return
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        yield path, f"{path}: {_lower(str(error))}, got {_shown(value)}"


def _reference_problems(config: Config) -> Iterator[tuple[str, str]]:
    stores = [store.id for store in config.datastores]
    named = {"models": [model.id for model in config.models], "datastores": stores}
    for group, ids in named.items():
        for i, name in enumerate(ids):
            if name in ids[:i]:
                where = f"{group}[{i}].id"
                yield where, f"{where}: {name!r} is taken by {group}[{ids.index(name)}]"
    for i, model in enumerate(config.models):
        if model.datastore is not None and model.datastore not in stores:
            where = f"models[{i}].datastore"
            near = difflib.get_close_matches(model.datastore, stores, 1, 0.5)
            hint = f"did you mean {near[0]!r}?" if near else "it must be in datastores"
            yield where, f"{where}: no datastore {model.datastore!r}; {hint}"
        yield from _input_problems(model, f"models[{i}]")
    for i, proxy in enumerate(config.endpoint.trusted_proxies):
        try:
            ipaddress.ip_network(proxy)
        except ValueError:
            where = f"endpoint.trusted_proxies[{i}]"
            yield where, f"{where}: expected an address or CIDR, got {proxy!r}"
    try:
        msgspec.json.encode(config)  # how workers get it
    except (TypeError, ValueError) as error:
        yield "", f"cannot be written as JSON: {error}"


def _input_problems(model: Model, path: str) -> Iterator[tuple[str, str]]:
    names = [given.name for given in model.inputs]
    for i, given in enumerate(model.inputs):
        where = f"{path}.inputs[{i}]"
        if given.name in names[:i]:
            yield where, f"{where}: input {given.name!r} is given more than once"
        said = {
            "precision": given.precision is not None,
            "wildcard": given.wildcard,
            "auxiliary": given.auxiliary,
        }
        if sum(said.values()) != 1:
            found = " and ".join(key for key, value in said.items() if value)
            expected = "one of precision, wildcard and auxiliary"
            yield where, f"{where}: expected {expected}, got {found or 'none'}"
    for i, name in enumerate(model.key_fields):
        if name in model.key_fields[:i]:
            where = f"{path}.key_fields[{i}]"
            yield where, f"{where}: {name!r} is given more than once"


def _repeated(nodes: list[tuple[str, yaml.Node]]) -> Iterator[tuple[str, str]]:
    """Keys given twice, of which YAML would silently take the last."""
    seen: set[str] = set()
    for where, _ in nodes:
        if where in seen:
            yield where, f"{where}: given more than once"
        seen.add(where)


def _walk(node: yaml.Node | None) -> list[tuple[str, yaml.Node]]:
    """Every node below one, with its path. Raises ValueError if there are too many."""
    found: list[tuple[str, yaml.Node]] = []
    todo = list(_children(node, ""))
    while todo:
        where, child = todo.pop(0)
        found.append((where, child))
        todo += _children(child, where)
        if len(found) + len(todo) > _MAX_NODES:  # a few aliases can stand for billions
            raise ValueError(f"more than {_MAX_NODES} values")
    return found


def _children(node: yaml.Node | None, path: str) -> Iterator[tuple[str, yaml.Node]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield _below(path, getattr(key, "value", "")), value
    elif isinstance(node, yaml.SequenceNode):
        for i, value in enumerate(node.value):
            yield f"{path}[{i}]", value


def _below(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _absolute(config: Config, base: Path) -> Config:
    models = tuple(
        msgspec.structs.replace(model, url=str((base / model.url).absolute()))
        if "://" not in model.url
        else model
        for model in config.models
    )
    run_dir = config.run_dir and str((base / config.run_dir).absolute())
    return msgspec.structs.replace(config, models=models, run_dir=run_dir)
