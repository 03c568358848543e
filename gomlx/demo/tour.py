"""The tour of `gomlx demo`: train, serve, and predict twice, on real flights."""

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

ROW = {
    "carrier": "UA",
    "origin": "EWR",
    "dest": "IAH",
    "month": 7,
    "hour": 20,
    "distance": 1400,
}
_PREDICT_PATH = "/v1/api/model/flights/eval"
_READY_SECONDS = 120
_CONFIG = """\
# Written by `gomlx demo`. To serve without the tour: gomlx serve -c {path}
log_level: warning
endpoint: {{port: {port}, workers: 2}}
models:
  - id: flights
    url: ./model            # numbered versions: add a folder 2 to replace 1
    datastore: answers
datastores:
  - {{id: answers, memory_mb: 64}}
"""

console = Console(highlight=False, soft_wrap=True)


def prepare(directory: Path, port: int) -> Path:
    """Train the model unless it exists, and return the path of its config file.

    Raises GomlxError if the training fails.
    """
    model = directory / "model"
    if not (model / "1" / "saved_model.pb").is_file():
        console.print("Training the demo model on 327,346 real flights, once …")
        command = [sys.executable, "-m", "gomlx.demo.flights", str(model)]
        if code := subprocess.run(command, check=False).returncode:
            raise GomlxError(
                f"training failed with exit code {code}; "
                "it needs: pip install 'gomlx[demo]'"
            )
    config = directory / "config.yaml"
    config.write_text(_CONFIG.format(path=config, port=port))
    return config


async def tour(url: str, directory: Path, once: bool) -> bool:
    """Predict the same row twice and show both answers; return whether to keep serving.

    Raises GomlxError if the service does not get ready, or a prediction fails.
    """
    started = time.monotonic()
    console.print("Starting the service with two workers …")
    await _until_ready(url)
    console.print(f"Ready after {time.monotonic() - started:.1f} s at [bold]{url}[/]\n")
    console.print(await asyncio.to_thread(_predict_twice, url))
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
            if status == 200:
                return
        except OSError as error:
            problem = str(error)
        await asyncio.sleep(0.2)
    raise GomlxError(f"the service is not ready after {_READY_SECONDS} s: {problem}")


def _ready(url: str) -> tuple[int, str]:
    connection = _connect(url, timeout=5)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def _predict_twice(url: str) -> Table:
    """Send ROW twice on one connection, so that one worker answers both requests."""
    table = Table("", "answer", "time", "Cache-Status")
    connection = _connect(url, timeout=30)
    try:
        for request in ("first", "again"):
            started = time.perf_counter()
            connection.request("POST", _PREDICT_PATH, json.dumps(ROW))
            response = connection.getresponse()
            answer: dict[str, Any] = json.loads(response.read())
            elapsed = time.perf_counter() - started
            if response.status != 200:
                raise GomlxError(f"the prediction failed: {answer}")
            status = response.headers["Cache-Status"]
            milliseconds = f"{elapsed * 1000:.2f} ms"
            data = json.dumps(answer["data"])
            table.add_row(request, data, milliseconds, status)
    finally:
        connection.close()
    return table


def _connect(url: str, timeout: float) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(url).netloc, timeout=timeout)


def _print_hints(url: str, directory: Path) -> None:
    batch = {
        "batch_size": 2,
        "carrier": ["UA", "DL"],
        **{name: [value] for name, value in ROW.items() if name != "carrier"},
    }
    console.print("\nTry it yourself:\n")
    for arguments in (
        f"'{url}{_PREDICT_PATH}' -d '{json.dumps(ROW)}'",
        f"'{url}{_PREDICT_PATH}' -d '{json.dumps(batch)}'",
        f"'{url}{_PREDICT_PATH}?{urlencode(ROW)}'",
        f"{url}/v1/api/health",
        f"{url}/metrics",
    ):
        console.print(f"  curl -i {arguments}", markup=False)
    console.print(f"\nThe model and its config are in {directory}/.")
