"""What is staged, and which versions should be live."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gomlx.errors import StageFailed

NOTHING_THERE = "no saved_model.pb there"


@dataclass(frozen=True)
class ModelVersion:
    """One immutable set of files, identified by its digest (32 hex digits)."""

    name: str
    digest: str
    directory: Path

    @property
    def dict_hash(self) -> int:
        """The version as mly's clients know it: 64 bits, signed, never zero."""
        return dict_hash(self.digest)


def dict_hash(digest: str) -> int:
    """Return the first 8 bytes of a digest as a signed integer, never zero."""
    return int.from_bytes(bytes.fromhex(digest)[:8], "big", signed=True) or 1


@dataclass(frozen=True)
class Manifest:
    """The truth that workers follow; the supervisor alone writes it.

    versions: model → the version that should be live. failures: model → why its
    newest files cannot be served. reloads: model → outcome → how often.
    """

    versions: dict[str, ModelVersion] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    reloads: dict[str, dict[str, int]] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Replace the file at once: a reader sees the old or the new, whole."""
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(asdict(self), default=str))
        temporary.replace(path)

    @classmethod
    def read(cls, path: Path) -> "Manifest":
        """Read it; empty when nothing has been published."""
        try:
            document = json.loads(path.read_text())
        except FileNotFoundError:
            return cls()
        versions = {
            name: ModelVersion(name, v["digest"], Path(v["directory"]))
            for name, v in document["versions"].items()
        }
        return cls(versions, document["failures"], document["reloads"])


@dataclass(frozen=True)
class Settings:
    """What the config says about a model's inputs, keys and answers.

    precisions: input → decimals. transformer: "package.module:function", or empty.
    """

    precisions: dict[str, int] = field(default_factory=dict)
    wildcards: tuple[str, ...] = ()
    auxiliaries: tuple[str, ...] = ()
    key_fields: tuple[str, ...] = ()
    transformer: str = ""

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "Settings":
        lists = {k: tuple(v) for k, v in document.items() if isinstance(v, list)}
        return cls(**document | lists)


@dataclass(frozen=True)
class StageRequest:
    """What the supervisor asks a staging process for."""

    name: str
    url: str
    into: Path
    signature: str
    example: dict[str, Any]
    settings: Settings = Settings()

    def to_json(self) -> str:
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> "StageRequest":
        values = json.loads(text)
        settings = Settings.from_json(values["settings"])
        return cls(**values | {"into": Path(values["into"]), "settings": settings})


def staged(name: str, directory: Path) -> ModelVersion:
    """Return the version in a staged directory, which is named by its digest."""
    if not (directory / "servable.json").is_file():
        raise StageFailed(f"{directory} holds no staged version")
    return ModelVersion(name, directory.name, directory)
