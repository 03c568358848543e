"""A response, and what of it every way to the service must say alike."""

import json
from typing import Any, NamedTuple

# Of the protocol, or of the moment.
_VARYING = frozenset(
    {"connection", "content-length", "date", "keep-alive", "server"}
    | {"transfer-encoding"}
)
_MEASURED = "serviceTimeMcs"


class Reply(NamedTuple):
    """One response. Header names are in lower case; ends: how, if not in order."""

    status: int
    headers: dict[str, str]
    body: bytes
    ends: str = ""

    def told(self) -> Any:
        """Return all but what may differ: times, and whether it was a hit."""
        kept = {k: v for k, v in self.headers.items() if k not in _VARYING}
        if "cache-status" in kept:
            kept["cache-status"] = ""
        return self.status, kept, document_of(self.body), self.ends

    @property
    def is_refused(self) -> bool:
        """Whether the protocol, and no route, has refused a malformed request."""
        is_text = self.headers.get("content-type") == "text/plain"
        return self.ends == "reset, 1" or (self.status == 400 and is_text)

    @property
    def is_bad_request(self) -> bool:
        """Whether the request was refused as malformed, by whatever."""
        return self.is_refused or self.status == 400

    @property
    def problem(self) -> str:
        """Whether its length is not that of its body; empty for one without either."""
        length = self.headers.get("content-length")
        is_wrong = length is not None and self.body and int(length) != len(self.body)
        return f"content-length {length}, {len(self.body)} bytes" if is_wrong else ""


def document_of(body: bytes) -> Any:
    """Return what a body says, line by line; no JSON: its bytes."""
    try:
        documents = [json.loads(line) for line in body.splitlines()]
    except ValueError:
        return body
    for document in documents:
        if isinstance(document, dict):
            document.pop(_MEASURED, None)
    return documents
