"""The page's files, statistics and keys, in this process: no sockets, no models."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import falcon.asgi
import pytest
from falcon.testing import TestClient

from gomlx.contract.canonical import Exact, Kind, Vocabulary
from gomlx.contract.dictionary import Dictionary
from gomlx.contract.signature import Signature
from gomlx.contract.tensor import Tensor
from gomlx.metrics.history import RecentPoints
from gomlx.metrics.metrics import Metrics
from gomlx.models.serving.current import Current, LiveVersion
from gomlx.server.body import BodyBudget
from gomlx.server.http.limits import HttpLimits
from gomlx.server.routes.health import Health
from gomlx.server.routes.meta.contracts import ModelSettings
from gomlx.server.routes.meta.explained import Explanations, KeyRoute
from gomlx.server.routes.page.files import page_routes
from gomlx.server.routes.page.stats import Stats, StatsRoute
from tests.server.routes.states import MODELS, manifest


def live(directory: Path, **description: Any) -> LiveVersion:
    """Return a version as far as statistics and explanations look at it."""
    signature = Signature(
        (Tensor("city", "string", (1,)), Tensor("price", "float32", (1,))), ()
    )
    known = Vocabulary(frozenset({"rome", b"\xff"}), "[UNK]", "a table")
    kinds: list[Kind] = [known, Exact("float32", "a product")]
    facts = {"rows_apart": "", "rows_together": False, "unsteady": ()} | description
    version = SimpleNamespace(name="fine", digest="f" * 32, directory=directory)
    servable = SimpleNamespace(version=version, description=SimpleNamespace(**facts))
    found = SimpleNamespace(
        digest="f" * 32,
        servable=servable,
        signature=signature,
        dictionary=Dictionary("f" * 32, signature, kinds),
    )
    return cast(LiveVersion, found)


def current_of(version: LiveVersion) -> Current:
    current = Current(MODELS)
    current.swap({"fine": version}, lambda _: None)
    return current


@pytest.fixture
def stats(tmp_path: Path) -> Callable[[Current], Stats]:
    metrics = Metrics(tmp_path, 0)
    metrics.counter("gomlx_requests", "fine", "200").n = 3
    metrics.histogram("gomlx_request_seconds", "fine").add(2e-4)
    metrics.gauge("gomlx_queue_rows", "fine").value = 7
    metrics.counter("gomlx_cache_lookups", "s", "L1", "hit").n = 2
    metrics.counter("gomlx_cache_writes", "s", "L1", "written").n = 1
    metrics.histogram("gomlx_cache_seconds", "s", "L1").add(1e-6)
    datastores = {"s": {"L1": {"bytes": 1}}}

    def make(current: Current) -> Stats:
        health = Health(current, manifest, dict)
        stores: dict[str, str | None] = dict.fromkeys(MODELS, "s")
        points = RecentPoints(tmp_path)
        return Stats(health, current, metrics, lambda: datastores, stores, points)

    return make


@pytest.mark.asyncio
async def test_statistics_hold_what_is_known(
    stats: Callable[[Current], Stats], tmp_path: Path
) -> None:
    (tmp_path / "servable.json").touch()
    found = json.loads(await stats(current_of(live(tmp_path))).document())
    fine = found["models"]["fine"]
    assert (fine["ready"], fine["datastore"]) == (True, "s")
    assert fine["staged"] == pytest.approx(found["now"]["time"], abs=60)
    absent = found["models"]["absent"]
    assert (absent["staged"], absent["datastore"]) == (None, None)
    point = found["now"]["models"]["fine"]
    assert point["codes"] == {"200": 3}
    assert point["queue_rows"] == 7
    assert sum(point["seconds"]) == 1
    assert len(point["seconds"]) == len(found["bounds"]["requests"]) + 1
    tier = found["now"]["tiers"]["s"]["L1"]
    assert (tier["lookups"], tier["writes"]) == ({"hit": 2}, {"written": 1})
    assert sum(tier["seconds"]) == 1
    assert found["datastores"] == {"s": {"L1": {"bytes": 1}}}


@pytest.mark.asyncio
async def test_answers_that_vary_are_in_no_datastore(
    stats: Callable[[Current], Stats],
) -> None:
    version = live(Path("/nowhere"), unsteady=("RandomUniform",))
    fine = json.loads(await stats(current_of(version)).document())["models"]["fine"]
    assert fine["datastore"] is None
    assert fine["staged"] is None  # nothing is there


def test_the_last_minutes_come_if_they_are_asked_for(
    stats: Callable[[Current], Stats], tmp_path: Path
) -> None:
    lines = RecentPoints(tmp_path)
    lines.add(b'{"time":1}')
    lines.add(b'{"time":2}')
    app = falcon.asgi.App()
    app.add_route("/stats", StatsRoute(stats(current_of(live(tmp_path)))))
    client = TestClient(app)
    plain = client.simulate_get("/stats")
    assert "history" not in plain.json
    assert plain.headers["Cache-Control"] == "no-store"
    full = client.simulate_get("/stats", query_string="history")
    assert full.json["history"] == [{"time": 1}, {"time": 2}]


@pytest.fixture(scope="module")
def page() -> TestClient:
    app = falcon.asgi.App()
    for path, route in page_routes().items():
        app.add_route(path, route)
    return TestClient(app)


def test_a_file_is_sent_as_it_is_or_packed(page: TestClient) -> None:
    plain = page.simulate_get("/ui/page.js")
    packed = page.simulate_get("/ui/page.js", headers={"Accept-Encoding": "gzip"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert len(packed.content) < len(plain.content) / 2
    tag = plain.headers["ETag"]
    assert tag == packed.headers["ETag"]
    again = page.simulate_get("/ui/page.js", headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")
    assert page.simulate_get("/ui/").headers["Location"] == "../ui"


@pytest.mark.parametrize("path", sorted(page_routes().keys() - {"/ui/"}))
def test_every_file_has_the_policy(page: TestClient, path: str) -> None:
    reply = page.simulate_get(path)
    assert reply.status_code == 200
    assert reply.headers["Content-Security-Policy"].startswith("default-src 'none'; ")


def explanations() -> Explanations:
    settings = dict.fromkeys(MODELS, ModelSettings(100, 1 << 20, None))
    return Explanations(current_of(live(Path("/nowhere"))), settings)


@pytest.mark.asyncio
async def test_values_that_are_no_text_are_shown_as_they_are_sent() -> None:
    document = json.loads((await explanations().document("fine")).body)
    assert document["examples"] == {"city": [{"b64": "/w=="}, "rome"]}
    assert document["key_space"] is None


def test_two_rows_are_explained_and_compared() -> None:
    app = falcon.asgi.App()
    limits = HttpLimits(1 << 20, 1024, 10, 10, 10, 10, BodyBudget(1 << 20))
    app.add_route("/{name}", KeyRoute(explanations(), limits))
    rows = [{"city": "oslo", "price": 0.1}, {"city": "lima", "price": 0.25}]
    found = TestClient(app).simulate_post("/fine", json=rows).json
    first, second = found["questions"]
    assert first["canonical"]["city"] == second["canonical"]["city"] == "[UNK]"
    assert "as float32 holds it" in first["collapsed"]["price"]
    assert "price" not in second["collapsed"]  # 0.25 is what a float32 holds
    assert found["differing"] == ["price"]
