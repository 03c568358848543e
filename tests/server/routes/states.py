"""Models that are live, failed or both, and a certificate."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from gomlx.models.serving.current import Current, LiveVersion
from gomlx.models.version import Manifest, ModelVersion, Staging

MODELS = ["fine", "stale", "absent"]


@dataclass
class FakeCertificates:
    """What is reported about certificates."""

    expires: float = 32_503_680_000.0
    problem: str | None = None

    def detail(self) -> dict[str, Any]:
        return {"certificate_expires": "3000-01-01T00:00:00Z"}


def manifest() -> Manifest:
    version = ModelVersion("fine", "a" * 32, Path("/nowhere"))
    other = ModelVersion("stale", "b" * 32, Path("/nowhere"))
    return Manifest(
        versions={"fine": version, "stale": other},
        failures={"stale": "half a copy"},
        reloads={"fine": {"published": 2}, "stale": {"published": 1, "failed": 3}},
        stagings={"fine": Staging(2.5, 1.7e9)},
        restarts=4,
    )


def current(*live: str) -> Current:
    found = Current(MODELS)
    for name in live:
        version = ModelVersion(name, name[0] * 32, Path("/nowhere"))
        description = SimpleNamespace(joins_rows=name == "fine")
        servable = SimpleNamespace(version=version, description=description)
        fake = SimpleNamespace(digest=version.digest, servable=servable)
        found.swap({name: cast(LiveVersion, fake)}, lambda _: None)
    return found
