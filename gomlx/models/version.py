"""Versions of models: their identity, requests to stage one, and the manifest."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from gomlx.errors import StageFailed

RECORD = "signatures.json"  # in a version's directory
NOTHING_THERE = "no saved_model.pb and no .keras file there"
TOGETHER = "together"  # the rows of a request: a whole request is the question


@dataclass(frozen=True)
class ModelVersion:
    """One immutable set of files, identified by its digest (32 hex digits).

    signature: what the model calls the one that it serves. further: the versions of
    its other signatures, whose names are ID:SIGNATURE; those of equal digests are one
    function. refused: names of others → why they are not served. may_gain: what
    refused them may pass by itself.
    """

    name: str
    digest: str
    directory: Path
    signature: str = ""
    further: tuple["ModelVersion", ...] = ()
    refused: dict[str, str] = field(default_factory=dict, hash=False)
    may_gain: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON types, for `from_json`."""
        further = [one.to_json() for one in self.further]
        return asdict(self) | {"directory": str(self.directory), "further": further}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "ModelVersion":
        further = tuple(map(cls.from_json, document["further"]))
        directory = Path(document["directory"])
        return cls(**document | {"directory": directory, "further": further})

    def record(self, wanted: Sequence[str] | None) -> None:
        """Write down what was found of the further signatures that were wanted."""
        record = {"wanted": wanted, "version": self.to_json()}
        (self.directory / RECORD).write_text(json.dumps(record))

    @classmethod
    def recorded(
        cls, name: str, directory: Path, wanted: Sequence[str] | None
    ) -> "ModelVersion | None":
        """Return the version that is complete in a directory, if there is one."""
        try:
            found = json.loads((directory / RECORD).read_text())
        except FileNotFoundError:
            return None
        version = cls.from_json(found["version"])
        is_wanted = found["wanted"] == (wanted if wanted is None else [*wanted])
        is_here = (version.name, version.directory) == (name, directory)
        return version if is_wanted and is_here else None

    @property
    def dict_hash(self) -> int:
        """The version as mly's clients know it: 64 bits, signed, never zero."""
        return dict_hash(self.digest)


def dict_hash(digest: str) -> int:
    """Return the first 8 bytes of a digest as a signed integer, never zero."""
    return int.from_bytes(bytes.fromhex(digest)[:8], "big", signed=True) or 1


@dataclass(frozen=True)
class Manifest:
    """Which versions should be live. The supervisor writes it, and workers follow it.

    versions: model → the version that should be live. failures: model → why its
    newest files cannot be served. reloads: model → outcome → how often it occurred.
    refused: the models whose failures do not pass by themselves. stagings: model → its
    last staging that succeeded. restarts: how often Gunicorn was started anew. added:
    those that came while the service was running.
    """

    versions: dict[str, ModelVersion] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    reloads: dict[str, dict[str, int]] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    stagings: "dict[str, Staging]" = field(default_factory=dict)
    restarts: int = 0
    added: list[str] = field(default_factory=list)

    @property
    def every(self) -> dict[str, ModelVersion]:
        """The versions, also those of further signatures, by name."""
        return {
            one.name: one
            for version in self.versions.values()
            for one in (version, *version.further)
        }

    def write(self, path: Path) -> None:
        """Replace the file atomically: readers see the old or the new manifest."""
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(asdict(self), default=str))
        temporary.replace(path)

    @classmethod
    def read(cls, path: Path) -> "Manifest":
        """Read a manifest; an empty one if the file does not exist."""
        try:
            document = json.loads(path.read_text())
        except FileNotFoundError:
            return cls()
        versions = {
            name: ModelVersion.from_json(one)
            for name, one in document["versions"].items()
        }
        return cls(
            versions,
            document["failures"],
            document["reloads"],
            document["refused"],
            {name: Staging(**one) for name, one in document["stagings"].items()},
            document["restarts"],
            document["added"],
        )


@dataclass(frozen=True)
class Staging:
    """How long a staging took, and when it ended, in seconds since 1970."""

    seconds: float
    ended: float


@dataclass(frozen=True)
class InputSettings:
    """What the config says of one input.

    name: the model's. precision: decimals of a float, or None. missing: "nan" if a
    number may be missing. rename: its name in requests, or empty if that is the
    model's, too.
    """

    name: str
    precision: int | None = None
    wildcard: bool = False
    auxiliary: bool = False
    missing: str | None = None
    rename: str = ""

    @property
    def served_name(self) -> str:
        """Its name in requests."""
        return self.rename or self.name


@dataclass(frozen=True)
class Settings:
    """The part of a model's config that changes its keys or answers.

    transformer: "package.module:function", or empty. rows: proved, alone or
    independent: whether rows of different requests may run together; or together: those
    of one request do, and no others. libraries: modules that register operations.
    tags: all those of the graph to serve. outputs: those that are served, or none for
    all. threads: TensorFlow's in a run, which may change the order of a sum; 0: each
    worker chooses. allow_operations: those that may reach files or hosts.
    """

    inputs: tuple[InputSettings, ...] = ()
    key_fields: tuple[str, ...] = ()
    transformer: str = ""
    rows: str = "proved"
    libraries: tuple[str, ...] = ()
    tags: tuple[str, ...] = ("serve",)
    outputs: tuple[str, ...] = ()
    threads: int = 0
    allow_operations: tuple[str, ...] = ()

    def input(self, served_name: str) -> InputSettings:
        """Return what the config says of an input; the defaults if nothing."""
        found = (one for one in self.inputs if one.served_name == served_name)
        return next(found, InputSettings(served_name))

    def served_name(self, name: str) -> str:
        """Return the name in requests of one of the model's inputs."""
        found = (one.served_name for one in self.inputs if one.name == name)
        return next(found, name)

    @property
    def auxiliaries(self) -> list[str]:
        """The names of the inputs that the model is not fed, sorted."""
        return sorted(one.name for one in self.inputs if one.auxiliary)

    @property
    def digested(self) -> str:
        """All settings as one text; their order in the config does not matter."""
        inputs = sorted(self.inputs, key=lambda one: one.name)
        ordered = replace(
            self,
            inputs=tuple(inputs),
            key_fields=tuple(sorted(self.key_fields)),
            outputs=tuple(sorted(self.outputs)),
            allow_operations=tuple(sorted(self.allow_operations)),
        )
        return json.dumps(asdict(ordered), sort_keys=True)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "Settings":
        lists = {k: tuple(v) for k, v in document.items() if isinstance(v, list)}
        inputs = tuple(InputSettings(**one) for one in document["inputs"])
        return cls(**document | lists | {"inputs": inputs})


@dataclass(frozen=True)
class StageLimits:
    """What a staging process may use; 0: as much as there is.

    memory_mb: what it may allocate. cpu_seconds: of all its threads together.
    trial_seconds: of trying rows; beyond it no more rows are tried.
    """

    memory_mb: int = 0
    cpu_seconds: int = 0
    trial_seconds: float = 0.0


@dataclass(frozen=True)
class StageRequest:
    """One model's source and settings, and the directory to stage its version into.

    url names the source; signature the one to serve (empty: serving_default, or else
    the only one); example holds values of inputs for the trial run. signatures: the
    further ones to serve, too; None: all that the model has. refused: those of them
    that are not to be tried (again), and why. confined: the staging process may write
    to that directory only. limits: what it may use.
    """

    name: str
    url: str
    into: Path
    signature: str
    example: dict[str, Any]
    settings: Settings = Settings()
    signatures: tuple[str, ...] | None = ()
    refused: dict[str, str] = field(default_factory=dict, hash=False)
    confined: bool = False
    limits: StageLimits = StageLimits()

    def further(self, signature: str, example: dict[str, Any]) -> "StageRequest":
        """Return the request to stage a further signature alone.

        What the config says of inputs and answers, it says of the model's own.
        """
        return replace(
            self,
            name=f"{self.name}:{signature}",
            signature=signature,
            signatures=(),
            example=example,
            settings=replace(
                self.settings, inputs=(), key_fields=(), transformer="", outputs=()
            ),
        )

    def to_json(self) -> str:
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> "StageRequest":
        values = json.loads(text)
        settings = Settings.from_json(values["settings"])
        into = Path(values["into"])
        limits = StageLimits(**values["limits"])
        signatures = values["signatures"]
        if signatures is not None:
            signatures = tuple(signatures)
        return cls(
            **values
            | {"into": into, "settings": settings}
            | {"signatures": signatures, "limits": limits}
        )


def model_of(name: str) -> str:
    """Return the model that the config has, of one of its signatures, ID:SIGNATURE."""
    return name.partition(":")[0]


def staged_version(name: str, directory: Path) -> ModelVersion:
    """Return the version in a directory that staging has named by its digest.

    Raises StageFailed if staging has not completed it.
    """
    if not (directory / "servable.json").is_file():
        raise StageFailed(f"{directory} holds no complete staged version")
    return ModelVersion(name, directory.name, directory)
