"""The access log: one JSON object for each sampled request."""

import re
from collections.abc import Callable, Container
from functools import lru_cache
from time import time
from typing import NamedTuple

import orjson

from gomlx.runtime.logs import rfc_3339
from gomlx.server.logs.sampling import Sampler
from gomlx.server.logs.writer import LineCounts, LineWriter

_LINE_BYTES = 512  # about
_STATUS = re.compile(
    r"gomlx; (?:(hit)|fwd=(\w+))(?:; (stored|collapsed))?(?:; detail=(\S+))?"
)
_MODEL = "model"  # the tier of a row that was computed


class Origin(NamedTuple):
    """Where an answer is from, in words of `Cache-Status`.

    cache: hit, miss, partial (of a batch), collapsed or bypass. tier: L1, a connection
    or model; None: of several rows, or there is none.
    """

    cache: str | None
    tier: str | None

    @classmethod
    def of(cls, cache_status: str) -> "Origin":
        """Parse a Cache-Status of ours; "" has no origin."""
        found = _STATUS.match(cache_status)
        if found is None:
            return cls(None, None)
        hit, forwarded, outcome, detail = found.groups()
        of_rows = detail is not None and detail.startswith('"')
        if hit:
            return cls(hit, None if of_rows else detail)
        if forwarded == "miss":
            forwarded = "collapsed" if outcome == "collapsed" else forwarded
            return cls(forwarded, _MODEL)
        return cls(forwarded, _MODEL if forwarded == "bypass" else None)


class Access(NamedTuple):
    """A request and its response; seconds: from its last byte to the response.

    method and target are "" where the request was refused before it was read. client:
    whose request its headers say that it is; "": they do not.
    """

    peer: str
    method: str
    target: str
    status: int
    size: int
    seconds: float
    model: str = ""
    cache_status: str = ""
    request_id: str = ""
    client: str = ""


class AccessRecorder:
    """Logs sampled requests. gap: how many others come before the next one.

    PERF: the protocols count the gap down themselves.
    """

    __slots__ = ("_proxies", "_sampler", "_shows_queries", "_writer", "counts", "gap")

    def __init__(
        self,
        sampler: Sampler,
        writer: LineWriter,
        counts: LineCounts,
        shows_queries: bool,
        proxies: Container[str] = (),
    ) -> None:
        """proxies: whose word is taken for whose request it is."""
        self.gap = sampler.gap
        self.counts = counts
        self._sampler = sampler
        self._writer = writer
        self._shows_queries = shows_queries
        self._proxies = proxies

    def chosen(self) -> None:
        """Begin the next gap: a request is chosen."""
        self.gap = self._sampler.next()

    def record(self, make: Callable[[], Access], size: int = 0) -> None:
        """Log a request that was chosen, and that make returns in another thread.

        size: of its target, if that may be large.
        """
        ended = time()
        self._writer.put(
            lambda: [access_line(self._told(make()), ended, self._shows_queries)],
            _LINE_BYTES + size,
            self.counts,
        )

    def _told(self, access: Access) -> Access:
        """Return a request with the peer that a trusted proxy has told."""
        is_told = access.client and (not access.peer or access.peer in self._proxies)
        return access._replace(peer=access.client) if is_told else access


_origin = lru_cache(256)(Origin.of)


def access_line(access: Access, ended: float, shows_query: bool) -> bytes:
    """Return the line of a request that was answered at a time since the epoch."""
    origin = _origin(access.cache_status)
    path, _, query = access.target.partition("?")
    fields: dict[str, str | int | float] = {
        "time": rfc_3339(ended),
        "logger": "access",
        "peer": access.peer,
    }
    if access.method:
        fields["method"] = access.method
        fields["path"] = path
        if shows_query:
            fields["query"] = query
    fields["status"] = access.status
    fields["bytes"] = access.size
    fields["seconds"] = round(access.seconds, 6)
    if access.model:
        fields["model"] = access.model
    if origin.cache:
        fields["cache"] = origin.cache
    if origin.tier:
        fields["tier"] = origin.tier
    if access.request_id:
        fields["request_id"] = access.request_id
    return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)
