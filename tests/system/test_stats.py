"""What a service tells of itself: models, counts, tiers, and how full its memory is."""

import re
from collections.abc import Iterator
from functools import partial
from itertools import count
from typing import Any

import pytest

from tests.support import saved_models
from tests.support.service import Service, running, wait_for

METRICS = {
    "bytes": "gomlx_store_bytes",
    "entries": "gomlx_store_entries",
    "overwritten_bytes": "gomlx_store_evicted_bytes_total",
}
MEMORY = 1 << 20
BATCH = 500
_STARTS = count(1_000_000, BATCH)  # of rows that nobody has asked for


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("stats")
    url = str(saved_models.scale(folder / "scale", 2.0))
    config = {
        "endpoint": {"workers": 2},
        "models": [{"id": "scale", "url": url, "datastore": "answers"}],
        "datastores": [{"id": "answers", "memory_mb": MEMORY >> 20}],
    }
    with running(folder, config) as service:
        yield service


def stats(service: Service) -> dict[str, Any]:
    document = service.get_anew("/v1/api/stats").json()
    answers = document["datastores"]["answers"]
    found: dict[str, Any] = answers["L1"]
    return found


def write(service: Service, start: int) -> None:
    """Have rows computed that nobody has asked for."""
    rows = list(range(start, start + BATCH))
    response = service.post("scale", {"x": rows, "batch_size": BATCH})
    assert response.status_code == 200


def test_stats_begin_empty_fill_and_tell_what_is_overwritten(service: Service) -> None:
    empty = dict.fromkeys(stats(service), 0) | {"size_bytes": MEMORY}
    assert stats(service) == empty
    assert list(empty) == [
        "size_bytes",
        "bytes",
        "entries",
        "overwritten_bytes",
        "overwritten_bytes_per_second",
    ]
    write(service, 0)
    wait_for(lambda: stats(service)["bytes"] >= 40 * BATCH)  # 32 and "{"y":0.0}"
    first = stats(service)
    assert first["overwritten_bytes"] == 0
    assert first["entries"] == pytest.approx(BATCH, rel=0.6)  # of a sample: 4 sigma
    entry_bytes = first["bytes"] / BATCH
    for start in range(BATCH, 40_000, BATCH):
        write(service, start)
    wait_for(
        lambda: stats(service)["overwritten_bytes"] > 30_000 * entry_bytes - MEMORY
    )
    full = stats(service)
    assert 0.7 * MEMORY < full["bytes"] < 0.8 * MEMORY  # a fifth is the index
    assert 0.5 < full["entries"] * entry_bytes / full["bytes"] < 1
    for pid in service.worker_pids():  # whichever wrote
        with service.only(pid):
            rate = wait_for(lambda: stats(service)["overwritten_bytes_per_second"])
            # Over a second, or a little less: the clock ticks about once.
            assert rate < 1.5 * full["overwritten_bytes"]


def test_a_point_has_what_all_workers_have_counted(service: Service) -> None:
    def now() -> Any:
        return service.get_anew("/v1/api/stats").json()["now"]

    before = now()
    rows = [{"x": 7}, {"x": 7}, {"x": "a"}, {"x": 8}]
    for pid in service.worker_pids():
        with service.only(pid):
            codes = [service.post_anew("scale", row).status_code for row in rows]
            assert codes == [200, 200, 400, 200]

    def counted() -> bool:
        codes = {
            code: n - before["models"]["scale"]["codes"].get(code, 0)
            for code, n in now()["models"]["scale"]["codes"].items()
        }
        return codes == {"200": 6, "400": 2}

    wait_for(counted)
    after = now()
    assert after["time"] > before["time"]
    model = after["models"]["scale"]
    assert sum(model["seconds"]) == model["codes"]["200"]
    tier = after["tiers"]["answers"]["L1"]
    lookups = before["tiers"]["answers"]["L1"]["lookups"]
    assert sum(tier["lookups"].values()) == sum(lookups.values()) + 6
    assert len(tier["seconds"]) == len(bounds(service)["lookups"]) + 1
    assert len(model["seconds"]) == len(bounds(service)["requests"]) + 1


def bounds(service: Service) -> dict[str, list[float]]:
    found: dict[str, list[float]] = service.get("/v1/api/stats").json()["bounds"]
    return found


def test_stats_tell_of_each_model_what_readyz_does_and_how_old_it_is(
    service: Service,
) -> None:
    document = service.get("/v1/api/stats").json()
    ready = service.ready()
    assert document["ready"] is ready["ready"] is True
    model = document["models"]["scale"]
    assert ready["models"]["scale"].items() <= model.items()
    assert model["datastore"] == "answers"
    assert 0 <= document["now"]["time"] - model["staged"] < 3600


def test_one_worker_keeps_the_last_minutes_for_all(service: Service) -> None:
    """A page that has just been opened shows what was before."""

    def points() -> Any:
        document = service.get_anew("/v1/api/stats?history").json()
        assert document["period_seconds"] == 10
        assert document["history"][-1]["time"] <= document["now"]["time"]
        return document["history"]

    for pid in service.worker_pids():
        with service.only(pid):
            first = points()
            assert first[0]["models"]["scale"].keys() >= {"codes", "seconds"}
    wait_for(lambda: len(points()) > len(first))
    times = [one["time"] for one in points()]
    assert times == sorted(set(times))
    assert "history" not in service.get("/v1/api/stats").json()


SCRIPT = "text/javascript; charset=utf-8"
MODULES = (
    *("chart", "elements", "fields", "keys", "models", "page", "results"),
    *("service", "tiers", "traffic", "try", "units", "windows"),
)


def test_values_of_rows_that_missed_are_counted(service: Service) -> None:
    def missed() -> dict[str, Any]:
        write(service, next(_STARTS))
        model = service.get_anew("/v1/api/stats").json()["models"]["scale"]
        found: dict[str, Any] = model.get("missed", {"rows": 0})
        return found

    wait_for(lambda: missed()["rows"] > 4)
    found = missed()
    # One row of another test may have missed in both workers.
    assert found["rows"] - found["distinct"]["x"] in (0, 1)


FILES = {
    "/ui": "text/html; charset=utf-8",
    **{f"/ui/{name}.js": SCRIPT for name in MODULES},
    "/ui/page.css": "text/css; charset=utf-8",
    "/ui/icon.svg": "image/svg+xml",
    "/ui/uplot.js": SCRIPT,
    "/ui/uplot.css": "text/css; charset=utf-8",
}


@pytest.mark.parametrize("path", FILES)
def test_a_file_of_the_page_is_sent_unless_the_browser_has_it(
    service: Service, path: str
) -> None:
    reply = service.get(path)
    assert reply.status_code == 200
    assert reply.headers["Content-Type"] == FILES[path]
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    again = service.client.get(path, headers={"If-None-Match": reply.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    plain = service.client.get(path, headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in plain.headers
    assert plain.content == reply.content


def test_the_page_lets_nothing_in_from_elsewhere(service: Service) -> None:
    policy = service.get("/ui").headers["Content-Security-Policy"]
    rules = {rule.split()[0]: rule.split()[1:] for rule in policy.split("; ")}
    assert rules.pop("require-trusted-types-for") == ["'script'"]
    assert rules["default-src"] == ["'none'"]
    assert {source for sources in rules.values() for source in sources} <= {
        "'none'",
        "'self'",
    }
    texts = {path: service.get(path).text for path in FILES}
    assert not re.search(r"<(script|style)[^>]*>[^<]|\sstyle=|\son\w+=", texts["/ui"])
    for path in ("/ui", *[f"/ui/{name}.js" for name in MODULES]):
        found = re.findall(
            r"innerHTML|outerHTML|document\.write|\beval\(|://", texts[path]
        )
        assert not found


def test_modules_of_the_page_import_what_others_export(service: Service) -> None:
    texts = {name: service.get(f"/ui/{name}.js").text for name in MODULES}
    exports = {
        name: set(re.findall(r"^export (?:async )?\w+ (\w+)", text, re.M))
        for name, text in texts.items()
    }
    for text in texts.values():
        for names, module in re.findall(
            r'^import \{ (.*) \} from "\./(\w+)\.js"', text, re.M
        ):
            assert exports[module] >= {*names.split(", ")}
    assert not exports["page"]


def test_each_link_of_the_page_is_a_file_of_it(service: Service) -> None:
    linked = re.findall(r'(?:href|src)="(ui/[^"]+)"', service.get("/ui").text)
    assert {f"/{link}" for link in linked} == FILES.keys() - {"/ui"}
    moved = service.get("/ui/")
    assert (moved.status_code, moved.headers["Location"]) == (308, "../ui")


def test_metrics_agree_with_the_stats(service: Service) -> None:
    for start in range(100_000, 125_000, BATCH):
        write(service, start)
    for name in METRICS:
        wait_for(partial(agree, service, name))


def agree(service: Service, name: str) -> bool:
    metric = METRICS[name]
    value: float = stats(service)[name]
    return value > 0 and service.metric(metric, datastore="answers") == value
