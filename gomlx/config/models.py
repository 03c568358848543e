"""A config for models alone: what `gomlx serve ./ranking ./clicks` serves."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gomlx.config.load import config_of
from gomlx.config.schema import LoadedConfig
from gomlx.errors import ConfigInvalid

_STORE = "answers"
_no_id = re.compile(r"[^A-Za-z0-9_.-]+")


def config_of_models(
    urls: Sequence[str], port: int | None, cache_mb: int
) -> LoadedConfig:
    """Return a config that serves models, each under the name of its folder.

    urls: paths, relative to the working directory, or URLs. port: None: the default.
    cache_mb: of their answers, together; 0: not cached. Raises ConfigInvalid.
    """
    models: list[dict[str, Any]] = [{"id": _id_of(url), "url": url} for url in urls]
    data: dict[str, Any] = {"models": models}
    if port is not None:
        data["endpoint"] = {"port": port}
    if cache_mb:
        data["datastores"] = [{"id": _STORE, "memory_mb": cache_mb}]
        for model in models:
            model["datastore"] = _STORE
    return config_of(data, Path.cwd())


def _id_of(url: str) -> str:
    """Return the name of a model's folder, or of the one that holds its versions."""
    path = url.partition("://")[2] if "://" in url else str(Path(url).absolute())
    parts = [part for part in path.split("/") if part]
    while len(parts) > 1 and parts[-1].isdigit():
        parts.pop()
    name = _no_id.sub("_", parts[-1]).strip("_.-") if parts else ""
    if not name:
        raise ConfigInvalid("config", [f"{url!r} has no name that a model may have"])
    return name
