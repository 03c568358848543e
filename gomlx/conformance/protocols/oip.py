"""The Open Inference Protocol (KServe's V2) over REST: /v2/models/NAME/infer."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import orjson

from gomlx.conformance.exchange import HttpReply, HttpRequest
from gomlx.conformance.protocols.call import Feature, PredictCall, Unreadable
from gomlx.conformance.recipe import DTYPES, MATRICES, RowAnswers

_DATATYPES = {"string": "BYTES", "int64": "INT64", "float32": "FP32"}


class Oip:
    """Tensors with a name, a datatype, a shape and flat data."""

    features = frozenset(Feature)

    def predict(self, call: PredictCall) -> HttpRequest:
        """Return the request for a call."""
        version = f"/versions/{call.version}" if call.version else ""
        body: dict[str, Any] = {"id": call.request_id} if call.request_id else {}
        body["inputs"] = [_tensor(call, name) for name in call.rows[0]]
        if call.outputs:
            body["outputs"] = [{"name": name} for name in call.outputs]
        path = f"/v2/models/{quote(call.model, safe='')}{version}/infer"
        return HttpRequest("POST", path, orjson.dumps(body), call.headers)

    def answers(self, call: PredictCall, reply: HttpReply) -> RowAnswers:
        """Return what a reply says. Raises Unreadable."""
        try:
            outputs = orjson.loads(reply.body)["outputs"]
            columns = {one["name"]: list(_flat(one["data"])) for one in outputs}
        except (ValueError, LookupError, TypeError) as error:
            raise Unreadable(f"{error!r}: {reply.body[:200]!r}") from None
        count = max(map(len, columns.values()), default=0)
        if any(len(column) != count for column in columns.values()):
            raise Unreadable(f"outputs of different lengths: {reply.body[:200]!r}")
        return [
            {name: column[place] for name, column in columns.items()}
            for place in range(count)
        ]

    def request_id(self, reply: HttpReply) -> str:
        """Return the id that a reply carries, or nothing."""
        try:
            return str(orjson.loads(reply.body).get("id", ""))
        except (ValueError, AttributeError):
            return ""

    def load(self, model: str) -> HttpRequest | None:
        """Return the request that has the server load a model's newest files."""
        return HttpRequest(
            "POST", f"/v2/repository/models/{quote(model, safe='')}/load"
        )


def _tensor(call: PredictCall, name: str) -> dict[str, Any]:
    """Return one input of all rows. A matrix has the shape of the first row's."""
    values = [row[name] for row in call.rows]
    shape = [len(values), 1]
    if name in MATRICES:
        shape = [len(values), len(values[0]), len(values[0][0])]
    datatype = call.dtypes.get(name) or _DATATYPES[DTYPES[name]]
    data = list(_flat(values))
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


def _flat(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list):
            yield from _flat(value)
        else:
            yield value
