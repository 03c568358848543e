"""What of a changed config can be had without a restart, and what is left as it was."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from gomlx.config.schema import LoadedConfig, Model

_OPTIONS = ("models", "log_level")
_ENDPOINT_OPTIONS = (
    "max_body_bytes",
    "max_bodies_mb",
    "keepalive_seconds",
    "receive_seconds",
    "stream_window",
    "stream_idle_seconds",
    "request_seconds",
    "drain_seconds",
)


@dataclass(frozen=True)
class ConfigChange:
    """A config that can be had at once, and what would need a restart.

    left: a line for each option, or model, that is left as it was.
    """

    config: LoadedConfig
    left: tuple[str, ...]


def change_of(old: LoadedConfig, new: LoadedConfig) -> ConfigChange:
    """Return what can be had of a new config while a service has the old one."""
    models: list[Model] = []
    left = [f"{name} needs a restart" for name in _fixed_changes(old, new)]
    known = {model.id: model for model in old.models}
    for model in new.models:
        if reason := _obstacle(old, model):
            left.append(f"model {model.id!r} needs a restart: {reason}")
            models += [known[model.id]] if model.id in known else []
        else:
            models.append(model)
    endpoint = replace(old.endpoint, **_chosen(new.endpoint, _ENDPOINT_OPTIONS))
    options = {**_chosen(new, _OPTIONS), "models": tuple(models), "endpoint": endpoint}
    return ConfigChange(replace(old, **options), tuple(left))


def _fixed_changes(old: LoadedConfig, new: LoadedConfig) -> Iterator[str]:
    """Yield the options that differ and need a restart."""
    free = (*_OPTIONS, "endpoint", "folder")
    yield from (name for name in _differing(old, new) if name not in free)
    for name in _differing(old.endpoint, new.endpoint):
        if name not in _ENDPOINT_OPTIONS:
            yield f"endpoint.{name}"


def _differing(old: Struct, new: Struct) -> Iterator[str]:
    for name in old.__struct_fields__:
        if getattr(old, name) != getattr(new, name):
            yield name


def _chosen(section: Struct, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(section, name) for name in names}


def _obstacle(old: LoadedConfig, model: Model) -> str:
    """Return why workers that run cannot have a model; empty: they can."""
    if model.datastore and old.datastore_of(model) is None:
        return f"datastore {model.datastore!r} is new"
    if model.isolate and not any(one.isolate for one in old.models):
        return "it is the first with isolate"
    known = {one.id: one.log for one in old.models}
    if model.log != known.get(model.id):
        return "its log is another one"
    has_transformers = any(one.transformer for one in old.models)
    if model.transformer and old.sandbox and not has_transformers:
        return "it is the first with a transformer, and workers are confined"
    return ""
