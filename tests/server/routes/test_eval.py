"""The prediction's route over Falcon."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import falcon.asgi
import falcon.testing
import pytest

from gomlx.server.predict.predictor import Predictor
from gomlx.server.predict.reply import Reply
from gomlx.server.recording.heads import Recording
from gomlx.server.routes.eval import EvalRoute
from tests.server.http.conftest import LIMITS


class Waiting:
    """A predictor that replies when a test says so."""

    def __init__(self) -> None:
        self.abandoned: list[object] = []

    def submit(
        self, name: str, text: object, on_reply: Callable[[Reply], None], *_: object
    ) -> object:
        self.on_reply = on_reply
        return self

    def abandon(self, pending: object) -> None:
        self.abandoned.append(pending)


@pytest.mark.asyncio
async def test_a_reply_in_the_turn_of_a_disconnect() -> None:
    """It reaches nobody, and does not fail: others may wait for the same run."""
    predictor = Waiting()
    route = EvalRoute(cast(Predictor, predictor), LIMITS, Recording())
    request: Any = falcon.testing.create_asgi_req(query_string="x=1")
    call = asyncio.create_task(route.on_get(request, falcon.asgi.Response(), "m"))
    await asyncio.sleep(0)
    call.cancel()
    predictor.on_reply(cast(Reply, None))
    with pytest.raises(asyncio.CancelledError):
        await call
    assert predictor.abandoned == [predictor]
