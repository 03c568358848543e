"""Everything that can go wrong, and the HTTP status that says so.

GomlxError                 500
├── InvalidInput           400  the question is wrong: change it
├── ModelNotFound          404  no such model in the config
├── TooLarge               413  send less at once
├── Overloaded             429  the queue is full: come back later
├── RunFailed              500  TensorFlow refused the row
│   └── TransformFailed    500  the model's transformer did
├── NotReady               503  the model is not loaded (yet)
├── NoHost                 503  a client: no host takes requests now
│   └── ConnectionFailed   503  a client: the host could not be reached, or went away
├── BadResponse            502  a client: what the host said is no answer
├── DeadlineExceeded       504  no answer in time: ask for less, or wait longer
├── StageFailed                 a version cannot be served; the last good one stays
├── StoreUnavailable            shared memory cannot be had
├── TierFailed                  a shared tier did not answer; its rows are misses
└── ConfigInvalid               the config file is wrong
"""

import copyreg
from collections.abc import Iterable, Sequence
from math import ceil
from typing import Any, Self

_EXCERPT_CHARACTERS = 60
_LONGEST_RETRY = 60  # seconds: a queue's rows have run, or have been dropped, by then


def excerpt(text: str) -> str:
    """Cut text short: an error must not echo what a client has sent as a whole."""
    if len(text) <= _EXCERPT_CHARACTERS:
        return text
    return f"{text[: _EXCERPT_CHARACTERS - 3]}…"


class GomlxError(Exception):
    """Base of every error that gomlx raises on purpose."""

    status = 500
    retry_after: int | None = None  # seconds

    def __reduce__(self) -> tuple[Any, ...]:
        """Let pickle restore what was told: not all are made from their message."""
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]  # documented by pickle

    @classmethod
    def told(cls, message: str, retry_after: int | None = None) -> Self:
        """Return the error that somebody else had, from its message."""
        error = cls.__new__(cls, message)
        if retry_after is not None:
            error.retry_after = retry_after
        return error


class InvalidInput(GomlxError):
    """A question that the model's signature does not admit."""

    status = 400
    name: str = ""
    row: int | None = None

    def __init__(self, reason: str, name: str = "", row: int | None = None) -> None:
        parts = [f"input {excerpt(name)!r}"] if name else []
        if row is not None:
            parts.append(f"row {row}")
        where = ", ".join(parts)
        super().__init__(f"{where}: {reason}" if where else reason)
        self.name, self.row = name, row


class ModelNotFound(GomlxError):
    """No model of that name is configured."""

    status = 404

    def __init__(self, name: str, known: Iterable[str]) -> None:
        models = ", ".join(sorted(known)) or "none"
        super().__init__(f"no model {name!r}; there are: {models}")


class TooLarge(GomlxError):
    """More bytes or rows in one request than the limits allow."""

    status = 413


class Overloaded(GomlxError):
    """The queue of a model is full; nothing was computed.

    seconds: what the queue is going to take.
    """

    status = 429

    def __init__(self, name: str, rows: int, seconds: float = 0.0) -> None:
        self.retry_after = min(max(ceil(seconds), 1), _LONGEST_RETRY)
        super().__init__(
            f"overloaded: model {name!r} has {rows} rows waiting; try again later"
        )


class InternalError(GomlxError):
    """A bug of ours; what it is, only the log tells."""

    def __init__(self) -> None:
        super().__init__("internal error; the log tells more")


class RunFailed(GomlxError):
    """TensorFlow raised while the model ran."""


class TransformFailed(RunFailed):
    """A transformer raised, or returned what is no JSON."""

    def __init__(self, model: str, reference: str, error: Exception) -> None:
        what = f"{type(error).__name__}: {str(error)[:500]}"
        super().__init__(f"model {model!r}: transformer {reference!r} failed: {what}")


class NotReady(GomlxError):
    """A configured model without a version that can answer."""

    status = 503
    retry_after = 2

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"model {name!r} is not ready: {reason}")


class NoHost(GomlxError):
    """No host of a client takes requests now; those that failed are left to recover."""

    status = 503


class ConnectionFailed(NoHost):
    """A host could not be reached, or went away before it had answered."""


class BadResponse(GomlxError):
    """A host said what is no answer to the question: something is in between."""

    status = 502


class DeadlineExceeded(GomlxError):
    """A request whose time was up before its answer; what had not begun never runs."""

    status = 504

    @classmethod
    def of(cls, model: str) -> Self:
        """Return the service's error, which says what to do."""
        return cls(
            f"model {model!r} gave no answer in time: try again when it is less busy, "
            "ask for fewer rows at once, or allow more time with the header "
            "Request-Timeout-Ms (at most endpoint.request_seconds of the config)"
        )


class StageFailed(GomlxError):
    """A version that cannot be served."""


class StoreUnavailable(GomlxError):
    """Shared memory for a datastore cannot be had."""


class TierFailed(GomlxError):
    """A tier that other hosts share refused, or did not answer in time.

    fault is the kind of failure in one word, for what to advise.
    """

    def __init__(self, reason: str, fault: str = "other") -> None:
        super().__init__(reason)
        self.fault = fault


class ConfigInvalid(GomlxError):
    """A config file, with everything that is wrong with it."""

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        super().__init__("\n".join(f"{source}: {problem}" for problem in problems))
        self.problems = list(problems)
