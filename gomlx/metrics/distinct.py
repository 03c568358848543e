"""Which inputs have many different values among the rows that missed: a sample.

Each worker keeps the newest rows that it has sampled, as a checksum a value, and writes
them into a file; any worker reads the files of all. It costs requests nothing: who
samples looks, once a second, at what ran last.

    {MODEL: {"version": …, "inputs": [names], "rows": [[a checksum an input], …]}}
"""

import logging
import os
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

log = logging.getLogger(__name__)

_MOST_ROWS = 256  # of a model, in a worker
_MOST_VALUES = 8192
_LEAST_ROWS = 16


class _Sample:
    """The newest rows of one version."""

    def __init__(self, version: str, inputs: Sequence[str]) -> None:
        self.version = version
        self.inputs = [*inputs]
        most = _MOST_VALUES // max(len(inputs), 1)
        most = min(max(most, _LEAST_ROWS), _MOST_ROWS)
        self.rows = deque[list[int]](maxlen=most)


class RecentValues:
    """The sample of one worker slot. For the event loop; `write` for a thread."""

    def __init__(self, directory: Path, slot: int) -> None:
        self._path = directory / f"values_{slot}.json"
        self._samples: dict[str, _Sample] = {}
        self._is_changed = False
        self._is_failing = False

    def add(
        self, model: str, version: str, inputs: Sequence[str], checksums: list[int]
    ) -> None:
        """Add a row of a version; those of another one are forgotten."""
        sample = self._samples.get(model)
        if sample is None or sample.version != version:
            sample = self._samples[model] = _Sample(version, inputs)
        sample.rows.append(checksums)
        self._is_changed = True

    def keep_models(self, models: Collection[str]) -> None:
        """Forget all other models."""
        for name in self._samples.keys() - set(models):
            del self._samples[name]
            self._is_changed = True

    def changes(self) -> dict[str, Any] | None:
        """Return what is to be written; None if nothing has changed since."""
        if not self._is_changed:
            return None
        self._is_changed = False
        return {
            name: {"version": one.version, "inputs": one.inputs, "rows": [*one.rows]}
            for name, one in self._samples.items()
        }

    def write(self, changes: Mapping[str, Any]) -> None:
        """Replace the file of this slot."""
        new = self._path.with_suffix(".new")
        try:
            new.write_bytes(orjson.dumps(changes))
            os.replace(new, self._path)
        except OSError as error:
            if not self._is_failing:
                log.error("cannot write a sample of values: %s", error)
            self._is_failing = True
        else:
            self._is_failing = False


def distinct_values(
    directory: Path, versions: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """Return model → {"rows": sampled, "distinct": {input: different values in them}}.

    versions: the live one of each model; models without a sample are missing.
    """
    seen: dict[str, dict[str, set[int]]] = {}
    rows: dict[str, int] = {}
    for document in _documents(directory):
        for model, sample in document.items():
            if not sample["rows"] or versions.get(model) != sample["version"]:
                continue
            rows[model] = rows.get(model, 0) + len(sample["rows"])
            values = seen.setdefault(model, {})
            columns = zip(*sample["rows"], strict=True)
            for name, column in zip(sample["inputs"], columns, strict=True):
                values.setdefault(name, set()).update(column)
    return {
        model: {
            "rows": rows[model],
            "distinct": {name: len(one) for name, one in values.items()},
        }
        for model, values in seen.items()
    }


def _documents(directory: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(directory.glob("values_*.json")):
        with suppress(OSError, ValueError):  # it is replaced, or damaged
            yield orjson.loads(path.read_bytes())
