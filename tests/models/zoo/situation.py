"""A situation: a model of a kind that people have, and rows to request."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.saved_models import save

Build = Callable[[Path], Path]
Body = dict[str, Any]  # a request of one row, as JSON
Feed = Callable[[Body], Mapping[str, Any]]  # what TensorFlow is given for it


@dataclass(frozen=True)
class Situation:
    """A model and rows that are requested, each of which is a neighbour of the rest.

    name says what the model does. build saves it to a path. joins: rows share a run;
    steady: answers are cached. rounds: last bits may depend on the size of a batch.
    config: the model's options, as in config.yaml. refused: a pattern of the reason why
    it is not staged. feed: what TensorFlow's signature is given for a request, where
    that does not follow from the shapes of its inputs. needs: a package.
    """

    name: str
    build: Build
    rows: Sequence[Body]
    joins: bool = True
    steady: bool = True
    rounds: bool = False
    config: Mapping[str, Any] = field(default_factory=dict)
    refused: str = ""
    feed: Feed | None = None
    needs: str = ""

    @property
    def is_listwise(self) -> bool:
        """Whether a request is one question, whatever the number of its rows."""
        return bool(self.config.get("batch", {}).get("rows") == "together")


def of(function: Callable[..., Any], *specs: Any) -> Build:
    """Return what saves a function of inputs, which has no state."""
    return lambda path: save(path, function, list(specs))


def rows(name: str, values: Sequence[Any]) -> list[Body]:
    """Return a request for each value of a single input."""
    return [{name: value} for value in values]
