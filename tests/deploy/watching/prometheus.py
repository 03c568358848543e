"""A real Prometheus, with the config and the rules of deploy/prometheus."""

import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.deploy.tools import program
from tests.deploy.watching.rules import PROMETHEUS
from tests.support.service import PLAIN, wait_for

_LISTENING = re.compile(r'msg="Listening on" address=(\S+)')


class Prometheus:
    """Its HTTP API."""

    def __init__(self, address: str) -> None:
        self._client = httpx.Client(
            base_url=f"http://{address}/api/v1", timeout=30, verify=PLAIN
        )

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series of an expression, each with a label set and a value.

        Raises AssertionError if Prometheus refuses it.
        """
        found: list[dict[str, Any]] = self.ask("/query", query=expression)["result"]
        return found

    def ask(self, path: str, **parameters: str) -> Any:
        """Return the data of a route."""
        document = self._client.get(path, params=parameters).json()
        assert document["status"] == "success", (parameters, document)
        return document["data"]

    def names(self) -> set[str]:
        """Return the names of all metrics, those that rules record included."""
        return {*self.ask("/label/__name__/values")}

    def close(self) -> None:
        self._client.close()


def config_for(url: str, scrape: Mapping[str, Any]) -> dict[str, Any]:
    """Return deploy/prometheus/prometheus.yml for one service, looked at often.

    scrape: what differs in its job.
    """
    config: dict[str, Any] = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(PROMETHEUS / name) for name in config["rule_files"]]
    del config["alerting"]
    (job,) = config["scrape_configs"]
    scheme, _, target = url.partition("://")
    labels = {"namespace": "shop", "pod": "gomlx-0"}
    job["static_configs"] = [{"targets": [target], "labels": labels}]
    job["scheme"] = scheme
    job.update(scrape)
    return config


@contextmanager
def running(folder: Path, config: Mapping[str, Any]) -> Iterator[Prometheus]:
    """Run Prometheus on a port that the system chooses."""
    (folder / "prometheus.yml").write_text(yaml.safe_dump(dict(config)))
    log = folder / "log"
    options = {
        "config.file": folder / "prometheus.yml",
        "storage.tsdb.path": folder / "data",
        "web.listen-address": "127.0.0.1:0",
    }
    arguments = [f"--{name}={value}" for name, value in options.items()]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program("prometheus"), *arguments], stdout=output, stderr=output
        )
    try:
        wait_for(lambda: _has_started(process, log), 60, "Prometheus to listen")
        (address,) = _LISTENING.findall(log.read_text())
        prometheus = Prometheus(address)
        try:
            yield prometheus
        finally:
            prometheus.close()
    finally:
        _stop(process)


def _has_started(process: "subprocess.Popen[bytes]", log: Path) -> bool:
    text = log.read_text()
    assert process.poll() is None, text
    return "Server is ready" in text and _LISTENING.search(text) is not None


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(20)
    process.kill()
    process.wait()
