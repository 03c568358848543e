"""A strict reading of deploy/compose.yaml: what has no field here is a mistake."""

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml
from msgspec import Meta, Struct

Size = Annotated[str, Meta(pattern=r"^\d+[mg]$")]
Time = Annotated[str, Meta(pattern=r"^\d+s$")]
# A name, and a version of at least two numbers.
Image = Annotated[str, Meta(pattern=r"^[\w./-]+:v?\d+\.\d+[\w.-]*$")]
User = Annotated[str, Meta(pattern=r"^[1-9]\d*:[1-9]\d*$")]
# On this machine alone.
Port = Annotated[str, Meta(pattern=r"^127\.0\.0\.1:\d+:\d+$")]
Mount = Annotated[str, Meta(pattern=r"^(\./[\w./-]+:/[\w./-]+:ro|\w+:/[\w./-]+)$")]


class Strict(Struct, frozen=True, forbid_unknown_fields=True):
    """What refuses fields that it does not have."""


class Build(Strict, frozen=True):
    context: str
    dockerfile: str


class Healthcheck(Strict, frozen=True):
    test: list[str]
    interval: Time
    timeout: Time
    start_period: Time


class Attachment(Strict, frozen=True):
    ipv4_address: str


class Dependency(Strict, frozen=True):
    condition: Literal["service_started", "service_healthy"]


class ConfigMount(Strict, frozen=True):
    source: str
    target: str


class ComposeService(Strict, frozen=True):
    image: Image
    cap_drop: list[Literal["ALL"]]
    mem_limit: Size
    restart: Literal["unless-stopped"]
    build: Build | None = None
    command: list[str] = []
    environment: dict[str, str] = {}
    configs: list[ConfigMount] = []
    volumes: list[Mount] = []
    user: User | None = None
    read_only: bool = False
    tmpfs: list[str] = []
    shm_size: Size | None = None
    init: bool = False
    security_opt: list[str] = []
    sysctls: dict[str, int] = {}
    ulimits: dict[str, int] = {}
    stop_grace_period: Time = "10s"
    healthcheck: Healthcheck | None = None
    depends_on: dict[str, Dependency] = {}
    networks: dict[str, Attachment] = {}
    ports: list[Port] = []


class InlineConfig(Strict, frozen=True):
    content: str


class Compose(Strict, frozen=True):
    name: str
    services: dict[str, ComposeService]
    networks: dict[str, Any]
    volumes: dict[str, Strict]
    configs: dict[str, InlineConfig]

    def config(self, name: str) -> dict[str, Any]:
        """Return an inline config, as its service reads it."""
        content = self.configs[name].content.replace("$$", "$")
        found: dict[str, Any] = yaml.safe_load(content)
        return found

    @property
    def gomlx(self) -> dict[str, ComposeService]:
        """The hosts of gomlx."""
        return {n: s for n, s in self.services.items() if n.startswith("gomlx-")}


def read(path: Path) -> Compose:
    """Read a file. Raises msgspec.ValidationError."""
    document = yaml.safe_load(path.read_text())
    known = {k: v for k, v in document.items() if not k.startswith("x-")}
    return msgspec.convert(known, Compose)


def mebibytes(size: str) -> int:
    """Return a size of compose, such as 1g."""
    return int(size[:-1]) * {"m": 1, "g": 1024}[size[-1]]


def seconds(time: str) -> int:
    """Return a time of compose, such as 10s."""
    return int(time.removesuffix("s"))
