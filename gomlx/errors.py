"""The errors of gomlx, and the HTTP status of each.

GomlxError                 500
├── InvalidInput           400  the request does not fit the model: change it
├── Unauthorized           401  no token or certificate, or not a known one
├── Forbidden              403  the client is known, and may not do this
├── ModelNotFound          404  the config has no such model
├── TooLarge               413  send fewer bytes or rows in one request
├── Overloaded             429  the queue is full: retry later
├── RunFailed              500  TensorFlow failed on the row
│   ├── RunOutlasted       504  the run took too long: ask for less at once
│   └── TransformFailed    500  the model's transformer failed
├── NotReady               503  no version of the model is loaded (yet)
├── NoHost                 503  a client: no host accepts requests now
│   └── ConnectionFailed   503  a client: the host is unreachable or disconnected
├── BadResponse            502  a client: the host's response is not an answer
├── DeadlineExceeded       504  no answer in time: send fewer rows, or wait longer
├── InternalError          500  a bug in gomlx: see the log
├── StageFailed                 a version cannot be served; the last good one stays
│   └── StageInterrupted        perhaps it can later: a source is unreachable, …
├── StoreUnavailable            shared memory is not available
├── TierFailed                  a shared tier did not answer; its rows are misses
└── ConfigInvalid               the config file is wrong
"""

import copyreg
from collections.abc import Iterable, Sequence
from math import ceil
from typing import Any, Self

_EXCERPT_CHARACTERS = 60
_MAX_RETRY_SECONDS = 60  # by then a queue's rows have run or have been dropped


def excerpt(text: str) -> str:
    """Cut text to at most 60 characters: an error must not echo a whole request."""
    if len(text) <= _EXCERPT_CHARACTERS:
        return text
    return f"{text[: _EXCERPT_CHARACTERS - 3]}…"


class GomlxError(Exception):
    """Base of every error that gomlx raises on purpose.

    status is the HTTP status of the response; retry_after, if any, its Retry-After
    header, in seconds.
    """

    status = 500
    retry_after: int | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the message: not every class has it as its constructor's argument."""
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]  # documented by pickle

    def without_frames(self) -> Self:
        """Return the error without the stack that raised it, to be kept.

        The stack's variables keep the request, and, where one of them keeps the error,
        themselves: until a garbage collection, which then takes long.
        """
        self.__context__ = None
        self.__cause__ = None
        return self.with_traceback(None)

    @classmethod
    def from_message(cls, message: str, retry_after: int | None = None) -> Self:
        """Rebuild an error that a service reported, or that another call had."""
        error = cls.__new__(cls, message)
        error.retry_after = retry_after
        return error


class InvalidInput(GomlxError):
    """A request that does not fit the model's signature.

    name is the input that is wrong, empty if it is the request as a whole; row its row
    number from 0, None in a request of one row.
    """

    status = 400
    name: str = ""
    row: int | None = None

    def __init__(self, reason: str, name: str = "", row: int | None = None) -> None:
        parts = [f"input {excerpt(name)!r}"] if name else []
        if row is not None:
            parts.append(f"row {row}")
        where = ", ".join(parts)
        super().__init__(f"{where}: {reason}" if where else reason)
        self.name = name
        self.row = row


class Unauthorized(GomlxError):
    """The request has neither a token nor a certificate that the route admits.

    has_token: it has a token, which is not, or no longer, known.
    """

    status = 401
    has_token = False

    @classmethod
    def of_admins(cls, path: str) -> Self:
        """Return the error of a route that is for admins."""
        return cls(
            f"{path} is for admins: send the header Authorization: Bearer TOKEN, with "
            "a token of endpoint.admin.token_file"
        )

    @classmethod
    def of_clients(cls, has_token: bool) -> Self:
        """Return the error of a route that is for known clients."""
        what = (
            "the token is not known" if has_token else "no known token or certificate"
        )
        error = cls(
            f"{what}: send the header Authorization: Bearer TOKEN (token_file of "
            "gomlx.Options), or a client certificate that endpoint.auth names"
        )
        error.has_token = has_token
        return error

    @property
    def challenge(self) -> str:
        """The header WWW-Authenticate (RFC 6750, section 3)."""
        reason = ', error="invalid_token"' if self.has_token else ""
        return f'Bearer realm="gomlx"{reason}'


class Forbidden(GomlxError):
    """The client is known, and may not ask for the model."""

    status = 403

    def __init__(self, model: str) -> None:
        super().__init__(
            f"this client may not use model {excerpt(model)!r}: endpoint.auth of the "
            "config lists the models of each client"
        )

    @classmethod
    def of_address(cls, path: str, address: str) -> Self:
        """Return the error of a route that is for other networks."""
        where = f" {address}" if address else ""
        return cls.from_message(
            f"{path} is for admins: this address{where} is not in endpoint.admin.allow"
        )


class ModelNotFound(GomlxError):
    """The config has no model of that name. known: None: that is not shown."""

    status = 404

    def __init__(self, name: str, known: Iterable[str] | None) -> None:
        message = f"no model {name!r}"
        if known is not None:
            message += f"; there are: {', '.join(sorted(known)) or 'none'}"
        super().__init__(message)


class SignatureNotFound(GomlxError):
    """A model has no signature of that name, or the config does not serve it."""

    status = 404

    def __init__(self, model: str, name: str, known: Iterable[str]) -> None:
        served = ", ".join(sorted(known))
        super().__init__(
            f"model {model!r}: signature {name!r} is not served; there are: {served}"
        )


class TooLarge(GomlxError):
    """More bytes or rows in one request than the limits allow."""

    status = 413


class Overloaded(GomlxError):
    """The queue of a model is full; nothing was computed.

    seconds is the time that the queue needs; it becomes retry_after, from 1 to 60.
    """

    status = 429

    def __init__(self, name: str, rows: int, seconds: float = 0.0) -> None:
        self.retry_after = min(max(ceil(seconds), 1), _MAX_RETRY_SECONDS)
        super().__init__(
            f"overloaded: model {name!r} has {rows} rows waiting; try again later"
        )


class InternalError(GomlxError):
    """A bug in gomlx. Only the log has the details."""

    def __init__(self) -> None:
        super().__init__("internal error; see the log")


class RunFailed(GomlxError):
    """TensorFlow raised while the model ran."""

    def of_row(self, row: int) -> Self:
        """Return the error that names a batch's row, by its number from 0."""
        return self.from_message(f"row {row}: {self}")


class RunOutlasted(RunFailed):
    """A run took longer than the model's run_seconds."""

    status = 504

    @classmethod
    def of(cls, model: str, seconds: float) -> Self:
        """Return the error of the rows of such a run."""
        return cls(
            f"model {model!r}: its run took over {seconds:g} s: send values or rows "
            "that ask for less, or raise the model's run_seconds in the config"
        )


class TransformFailed(RunFailed):
    """A transformer raised, or returned something that is not JSON."""

    def __init__(self, model: str, reference: str, error: Exception) -> None:
        what = f"{type(error).__name__}: {str(error)[:500]}"
        super().__init__(f"model {model!r}: transformer {reference!r} failed: {what}")


class NotReady(GomlxError):
    """A configured model has no version that can answer.

    may_pass: it is loading, or perhaps will be. Otherwise there is no retry_after: its
    files or its config have to be changed.
    """

    status = 503
    retry_after: int | None = 2

    def __init__(self, name: str, reason: str, may_pass: bool = True) -> None:
        super().__init__(f"model {name!r} is not ready: {reason}")
        if not may_pass:
            self.retry_after = None


class NoHost(GomlxError):
    """No host of a client accepts requests now: failing hosts get time to recover."""

    status = 503


class ConnectionFailed(NoHost):
    """A host is unreachable, or disconnected before its answer."""


class BadResponse(GomlxError):
    """A host's response is not an answer: perhaps a proxy's."""

    status = 502


class DeadlineExceeded(GomlxError):
    """A request's deadline passed before its answer; rows not yet started never run."""

    status = 504

    @classmethod
    def of(cls, model: str) -> Self:
        """Return the service's error for a model, with what the client can do."""
        return cls(
            f"model {model!r} gave no answer in time: try again when it is less busy, "
            "send fewer rows at once, or allow more time with the header "
            "Request-Timeout-Ms (at most endpoint.request_seconds of the config)"
        )


class StageFailed(GomlxError):
    """A version cannot be served: because of its files or its config."""


class StageInterrupted(StageFailed):
    """Staging failed for a reason that may pass, whatever the files are."""


class StoreUnavailable(GomlxError):
    """Shared memory for a datastore is not available."""


class TierFailed(GomlxError):
    """A shared tier refused, or did not answer in time.

    fault is the kind of failure in one word; `gomlx check --connect` advises by it.
    """

    def __init__(self, reason: str, fault: str = "other") -> None:
        super().__init__(reason)
        self.fault = fault


class ConfigInvalid(GomlxError):
    """Everything that is wrong with a config file, one problem a line."""

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        super().__init__("\n".join(f"{source}: {problem}" for problem in problems))
        self.problems = list(problems)
