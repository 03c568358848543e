"""A prediction as the checks ask for it, whatever the protocol."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from gomlx.conformance.exchange import HttpReply, HttpRequest
from gomlx.conformance.recipe import NamedRow, RowAnswers
from gomlx.errors import GomlxError


class Unreadable(GomlxError):
    """A reply with status 200 that is not what its protocol says."""


class Feature(StrEnum):
    """What only some protocols can say."""

    outputs = "which outputs are wanted"
    request_id = "a request's id"
    versions = "a version by its number"
    dtypes = "the dtype of each value"


@dataclass(frozen=True)
class PredictCall:
    """A request for predictions. A value of a row is a scalar, or lists for `x`."""

    model: str
    rows: tuple[NamedRow, ...]
    outputs: tuple[str, ...] = ()
    request_id: str = "conformance"
    version: int | None = None
    dtypes: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


class Speaker(Protocol):
    """A protocol."""

    features: frozenset[Feature]

    def predict(self, call: PredictCall) -> HttpRequest:
        """Return the request for a call."""

    def answers(self, call: PredictCall, reply: HttpReply) -> RowAnswers:
        """Return what a reply with status 200 says. Raises Unreadable."""

    def request_id(self, reply: HttpReply) -> str:
        """Return the id that a reply carries, or nothing."""

    def load(self, model: str) -> HttpRequest | None:
        """Return the request that has the server load a model's newest files."""


def scalar(value: Any) -> Any:
    """Return the only element of nested lists of length 1; any other value as it is."""
    while isinstance(value, list) and len(value) == 1:
        (value,) = value
    return value
