"""A service that the page shows, with what it must not take for markup; and a browser.

    python -m tests.deploy.shown --minutes 15    # writes the pictures of docs/page.md

The pictures show real traffic of as many minutes: rows at random, of which some recur.
"""

import argparse
import math
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import httpx

from tests.client.flights import flights
from tests.support import redis_servers, saved_models
from tests.support.service import Service, running

PICTURES = Path(__file__).parents[2] / "docs" / "images"
MARKUP = "<img src=x onerror=window.broken=1>"
VIEWS = ("models", "traffic", "keys", "try", "tiers")
_PORTS = ["EWR", "JFK", "LGA"]
_CARRIERS = ["UA", "DL", "B6", "XX", "9E"]
_VIEWPORT = {"width": 1000, "height": 760}
_NARROW = {"width": 320, "height": 640}
_MOST_ROWS_A_TURN = 16
_TURN_SECONDS = 0.3
_COLOURS = "64"  # of a picture: enough, and a quarter of its bytes


@contextmanager
def shown_service(
    folder: Path, example: dict[str, Any] | None = None
) -> Iterator[Service]:
    """Run a service with models of many kinds, one that fails, and a tier that is down.

    The vocabulary of `words` and the name of its input hold markup. example: of the
    model that fails, which has no files anyway if there is none.
    """
    with redis_servers.server(folder / "near") as near:
        flights(folder / "flights")
        saved_models.keras(folder / "cities")
        saved_models.lookup(folder / "words", ["plain", MARKUP, "'\"&amp;"])
        saved_models.scale(folder / "scale", 2.0)
        config = _config(folder, near.url)
        if example:
            config["models"][-1] |= {"url": "./scale", "example": example}
        with running(folder, config) as service:
            yield service


def _config(folder: Path, near: str) -> dict[str, Any]:
    models: list[dict[str, Any]] = [
        {"id": name, "url": f"./{name}", "datastore": "answers"}
        for name in ("flights", "cities")
    ]
    renamed = [{"name": "word", "rename": MARKUP}]
    tiers = [{"connection": "near"}, {"connection": "far"}]
    return {
        "models": [
            *models,
            {"id": "words", "url": "./words", "datastore": "words", "inputs": renamed},
            {"id": "scale", "url": "./scale"},
            {"id": "absent", "url": "./absent"},
        ],
        "datastores": [
            {"id": "answers", "memory_mb": 16, "tiers": tiers},
            {"id": "words", "memory_mb": 4},
        ],
        "connections": [
            {"id": "near", "url": near, "timeout_seconds": 30},
            {"id": "far", "url": f"unix://{folder}/none.sock"},
        ],
    }


def row(random: Random) -> dict[str, Any]:
    """Return a flight; few of its values are those of most flights."""
    return {
        "carrier": random.choice(_CARRIERS),
        "origin": random.choice(_PORTS),
        "dest": random.choice(["IAH", "ORD", "LAX", "ZZZ"]),
        "month": random.randint(1, 12),
        "hour": min(23, int(random.expovariate(0.2))),
        "distance": round(random.lognormvariate(7, 0.4), -2),
    }


def send_some(client: httpx.Client, random: Random) -> None:
    """Send a few requests, now and then a wrong one; how many comes in waves."""
    share = 1.2 + math.sin(time.monotonic() / 60)
    for _ in range(random.randint(1, int(_MOST_ROWS_A_TURN * share / 2) + 1)):
        client.post("/v1/api/model/flights/eval", json=row(random))
    city = {"city": random.choice(["rome", "lima", "?"]), "day": 1, "price": 2.0}
    client.post("/v1/api/model/cities/eval", json=city)
    if random.random() < 0.1:
        client.post("/v1/api/model/cities/eval", json={"city": "rome"})


@contextmanager
def chromium(program: str) -> Iterator[Any]:
    """Run a real Chromium without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program,
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
        )
        try:
            yield browser
        finally:
            browser.close()


def open_view(page: Any, service: Service, view: str) -> None:
    """Open a view, and wait until it shows what the service says."""
    page.goto(f"{service.url}/ui#{view}")
    page.wait_for_selector(f"#view-{view}:not([hidden])")
    page.wait_for_selector("body:not(:has-text('Asking the service'))")


def _take_pictures(browser: Any, service: Service) -> None:
    PICTURES.mkdir(exist_ok=True)
    for view in VIEWS:
        for scheme, viewport in (("light", _VIEWPORT), ("dark", _VIEWPORT)):
            _take(browser, service, (view, scheme), viewport)
        _take(browser, service, (view, "narrow"), _NARROW)


def _take(
    browser: Any, service: Service, name: tuple[str, str], viewport: dict[str, int]
) -> None:
    view, kind = name
    scheme = "dark" if kind == "dark" else "light"
    page = browser.new_page(viewport=viewport, color_scheme=scheme)
    open_view(page, service, view)
    if view == "try":
        page.check("#try-compare")
        for field, value in (("row-1-0", "XX"), ("row-2-0", "YY"), ("row-2-2", "90")):
            page.fill(f"#{field}", value)
        page.get_by_role("button", name="Predict").click()
        page.wait_for_selector(".results")
    path = PICTURES / f"page-{view}-{kind}.png"
    page.screenshot(path=path, full_page=True)
    page.close()
    if program := shutil.which("pngquant"):
        command = [program, "--force", "--ext", ".png", _COLOURS, str(path)]
        subprocess.run(command, check=True)


def main() -> None:
    """Run the service for some minutes, and then take the pictures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=15.0)
    minutes = parser.parse_args().minutes
    program = shutil.which("chromium")
    if program is None:
        sys.exit("chromium is missing (Debian's chromium)")
    with tempfile.TemporaryDirectory() as name, shown_service(Path(name)) as service:
        with traffic(service), chromium(program) as browser:
            time.sleep(60 * minutes)
            _take_pictures(browser, service)


@contextmanager
def traffic(service: Service) -> Iterator[None]:
    """Send requests, a few at a time, until the end."""
    has_ended = threading.Event()

    def send() -> None:
        random = Random(1)
        with service.connect() as client:
            while not has_ended.wait(_TURN_SECONDS):
                send_some(client, random)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        has_ended.set()
        thread.join()


if __name__ == "__main__":
    main()
