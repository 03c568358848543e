"""gomlx' own protocol, which is mly's: /v1/api/model/ID/eval."""

from typing import Any
from urllib.parse import quote

import orjson

from gomlx.conformance.exchange import HttpReply, HttpRequest
from gomlx.conformance.protocols.call import Feature, PredictCall, Unreadable, scalar
from gomlx.conformance.recipe import RowAnswers


class Mly:
    """One row is an object; a batch has a list for each input."""

    features = frozenset[Feature]()

    def predict(self, call: PredictCall) -> HttpRequest:
        """Return the request for a call."""
        body: dict[str, Any]
        if len(call.rows) == 1:
            body = dict(call.rows[0])
        else:
            names = call.rows[0]
            body = {"batch_size": len(call.rows)}
            body |= {name: [row[name] for row in call.rows] for name in names}
        path = f"/v1/api/model/{quote(call.model, safe='')}/eval"
        return HttpRequest("POST", path, orjson.dumps(body), call.headers)

    def answers(self, call: PredictCall, reply: HttpReply) -> RowAnswers:
        """Return what a reply says. Raises Unreadable."""
        try:
            data = orjson.loads(reply.body)["data"]
            rows = data if isinstance(data, list) else [data]
            return [{name: scalar(one[name]) for name in one} for one in rows]
        except (ValueError, LookupError, TypeError) as error:
            raise Unreadable(f"{error!r}: {reply.body[:200]!r}") from None

    def request_id(self, reply: HttpReply) -> str:
        """Return nothing: requests have no id."""
        return ""

    def load(self, model: str) -> HttpRequest | None:
        """Return None: the server watches its files."""
        return None
