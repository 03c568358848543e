"""`gomlx demo`: from nothing to an answered prediction, on real flights."""

import asyncio
import http.client
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from rich.console import Console
from rich.table import Table

from gomlx.errors import GomlxError

QUESTION = {
    "carrier": "UA",
    "origin": "EWR",
    "dest": "IAH",
    "month": 7,
    "hour": 20,
    "distance": 1400,
}
_EVAL = "/v1/api/model/flights/eval"
_READY_SECONDS = 120
_CONFIG = """\
# Written by `gomlx demo`; `gomlx serve -c {path}` runs it without the tour.
log_level: warning
endpoint: {{port: {port}, workers: 2}}
models:
  - id: flights
    url: ./model            # a folder of numbered versions; put a 2 there and see
    datastore: answers
datastores:
  - {{id: answers, memory_mb: 64}}
"""

console = Console(highlight=False, soft_wrap=True)


def prepare(directory: Path, port: int) -> Path:
    """Train the model unless it is there, and return the path of its config."""
    model = directory / "model"
    if not (model / "1" / "saved_model.pb").is_file():
        console.print("Training the demo model on 327,346 real flights (once) …")
        command = [sys.executable, "-m", "gomlx.demo.flights", str(model)]
        if code := subprocess.run(command, check=False).returncode:
            raise GomlxError(
                f"training ended with code {code}; it needs: pip install 'gomlx[demo]'"
            )
    config = directory / "config.yaml"
    config.write_text(_CONFIG.format(path=config, port=port))
    return config


async def tour(url: str, directory: Path, once: bool) -> bool:
    """Ask one question twice and show both answers; True to go on serving."""
    started = time.monotonic()
    console.print("Starting the supervisor and two workers …")
    await _until_ready(url)
    console.print(f"Ready after {time.monotonic() - started:.1f} s at [bold]{url}[/]\n")
    console.print(await asyncio.to_thread(_ask_twice, url))
    _print_hints(url, directory)
    if not once:
        console.print("\nServing until Ctrl-C.")
    return not once


async def _until_ready(url: str) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    problem = "no answer"
    while time.monotonic() < deadline:
        try:
            status, problem = await asyncio.to_thread(_ready, url)
        except OSError as error:
            status, problem = 0, str(error)
        if status == 200:
            return
        await asyncio.sleep(0.2)
    raise GomlxError(f"not ready after {_READY_SECONDS} s: {problem}")


def _ready(url: str) -> tuple[int, str]:
    connection = _connect(url, timeout=5)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def _ask_twice(url: str) -> Table:
    """Ask on one connection, so that one worker answers both."""
    table = Table("", "answer", "time", "Cache-Status")
    connection = _connect(url, timeout=30)
    try:
        for what in ("first", "again"):
            started = time.perf_counter()
            connection.request("POST", _EVAL, json.dumps(QUESTION))
            response = connection.getresponse()
            answer: dict[str, Any] = json.loads(response.read())
            seconds = time.perf_counter() - started
            if response.status != 200:
                raise GomlxError(f"the prediction failed: {answer}")
            cached = response.headers["Cache-Status"]
            took = f"{seconds * 1000:.2f} ms"
            table.add_row(what, json.dumps(answer["data"]), took, cached)
    finally:
        connection.close()
    return table


def _connect(url: str, timeout: float) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(url).netloc, timeout=timeout)


def _print_hints(url: str, directory: Path) -> None:
    batch = {
        "batch_size": 2,
        "carrier": ["UA", "DL"],
        **{name: [QUESTION[name]] for name in QUESTION if name != "carrier"},
    }
    console.print("\nTry it yourself:\n")
    for arguments in (
        f"'{url}{_EVAL}' -d '{json.dumps(QUESTION)}'",
        f"'{url}{_EVAL}' -d '{json.dumps(batch)}'",
        f"'{url}{_EVAL}?{urlencode(QUESTION)}'",
        f"{url}/v1/api/health",
        f"{url}/metrics",
    ):
        console.print(f"  curl -i {arguments}", markup=False)
    console.print(f"\nModel and config are in {directory}/.")
