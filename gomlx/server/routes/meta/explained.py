"""meta/inspect and meta/key: what commands of these names show, of live versions.

GET  …/meta/inspect   {"model", "version", "signature", "inputs": [one per input:
                      kind, proof, number of values], "key_space", "rows_apart",
                      "rows_together", "examples"}
POST …/meta/key       a body as for eval, or a list of them →
                      {"model", "version", "questions": [canonical row, what
                      collapsed and why, key], "differing": [names of inputs]}
"""

import asyncio
from collections.abc import Mapping
from typing import Any

import falcon.asgi
import orjson

from gomlx.contract.explain import Explainer
from gomlx.errors import InvalidInput
from gomlx.models.serving.current import Current
from gomlx.models.version import model_of
from gomlx.server.body import LARGE_BYTES, BodyParts
from gomlx.server.http.limits import HttpLimits
from gomlx.server.predict.parse import decoded
from gomlx.server.routes.eval import read_body
from gomlx.server.routes.meta.contracts import ModelSettings
from gomlx.server.routes.meta.kept import KeptDocument, KeptDocuments
from gomlx.server.routes.response import send_json

_MOST_QUESTIONS = 16


class Explanations:
    """Explains the keys of the live versions. For the event loop.

    settings: by model.
    """

    def __init__(self, current: Current, settings: Mapping[str, ModelSettings]) -> None:
        self._current = current
        self._settings = settings
        self._documents = KeptDocuments()
        self._turn = asyncio.Lock()  # one at a time: no prediction needs it

    async def document(self, name: str) -> KeptDocument:
        """Return what is known of the live version. Raises ModelNotFound, NotReady."""
        explainer = self._explainer(name)

        def make() -> bytes:
            return orjson.dumps(
                {"model": name, "version": explainer.version}
                | {"signature": explainer.signature.to_json()}
                | explainer.as_dict()
                | {"examples": explainer.examples()}
            )

        return await self._documents.get(name, explainer.version, make)

    async def keys(self, name: str, body: bytes) -> bytes:
        """Explain the row of a body, or the rows of a list of bodies.

        Raises ModelNotFound, NotReady, InvalidInput, TooLarge.
        """
        explainer = self._explainer(name)
        most = self._settings[model_of(name)].max_rows
        async with self._turn:
            found = await asyncio.to_thread(_explained, explainer, body, most)
        return orjson.dumps({"model": name, "version": explainer.version} | found)

    def _explainer(self, name: str) -> Explainer:
        live = self._current.require(name)
        description = live.servable.description
        return Explainer(
            live.digest,
            live.signature,
            live.dictionary,
            description.rows_apart,
            description.rows_together,
        )


class KeyRoute:
    """The canonical rows and keys of questions, which are not answered here."""

    def __init__(self, explanations: Explanations, limits: HttpLimits) -> None:
        self._explanations = explanations
        most = min(limits.body_bytes, LARGE_BYTES - 1)  # for people: no large rows
        self._limits = limits._replace(body_bytes=most)

    async def on_post(
        self, request: falcon.asgi.Request, response: falcon.asgi.Response, name: str
    ) -> None:
        body = await read_body(request, self._limits)
        text = body.joined() if isinstance(body, BodyParts) else body
        send_json(response, await self._explanations.keys(name, text))


def _explained(explainer: Explainer, body: bytes, max_rows: int) -> dict[str, Any]:
    """Explain questions, in a thread. Raises InvalidInput, TooLarge."""
    value = decoded(body, explainer.signature, max_rows)
    bodies = value if isinstance(value, list) else [value]
    if not 1 <= len(bodies) <= _MOST_QUESTIONS:
        raise InvalidInput(f"expected 1 to {_MOST_QUESTIONS} rows, got {len(bodies)}")
    questions = [explainer.question(one, max_rows) for one in bodies]
    return {
        "questions": list(map(explainer.explain, questions)),
        "differing": explainer.differing(questions),
    }
