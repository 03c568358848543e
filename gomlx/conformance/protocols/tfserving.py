"""TensorFlow Serving's REST API: /v1/models/NAME:predict, in the row format."""

from typing import Any
from urllib.parse import quote

import orjson

from gomlx.conformance.exchange import HttpReply, HttpRequest
from gomlx.conformance.protocols.call import Feature, PredictCall, Unreadable, scalar
from gomlx.conformance.recipe import MATRICES, OUTPUTS, ModelName, NamedRow, RowAnswers


class TfServing:
    """An instance has each scalar in a list, since inputs are of shape [rows, 1]."""

    features = frozenset({Feature.versions})

    def predict(self, call: PredictCall) -> HttpRequest:
        """Return the request for a call."""
        version = f"/versions/{call.version}" if call.version else ""
        path = f"/v1/models/{quote(call.model, safe='')}{version}:predict"
        body = {"instances": [_instance(row) for row in call.rows]}
        return HttpRequest("POST", path, orjson.dumps(body), call.headers)

    def answers(self, call: PredictCall, reply: HttpReply) -> RowAnswers:
        """Return what a reply says. Raises Unreadable."""
        try:
            predictions = orjson.loads(reply.body)["predictions"]
            return [_named(call, one) for one in predictions]
        except (ValueError, LookupError, TypeError) as error:
            raise Unreadable(f"{error!r}: {reply.body[:200]!r}") from None

    def request_id(self, reply: HttpReply) -> str:
        """Return nothing: requests have no id."""
        return ""

    def load(self, model: str) -> HttpRequest | None:
        """Return None: the server watches its files."""
        return None


def _instance(row: NamedRow) -> dict[str, Any]:
    return {name: value if name in MATRICES else [value] for name, value in row.items()}


def _named(call: PredictCall, prediction: Any) -> dict[str, Any]:
    """Return a prediction's outputs by name; a single output comes without its own."""
    if isinstance(prediction, dict):
        return {name: scalar(value) for name, value in prediction.items()}
    (name,) = OUTPUTS[ModelName(call.model).name]
    return {name: scalar(prediction)}
