"""The proxies' configs of deploy/: valid, and no request fails while a host does."""

import json
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path

import httpx
import pytest

from loadtests.load.services import free_port
from loadtests.proxies.hosts import FACTORS, Hosts, kill, two_hosts
from loadtests.proxies.load import Load
from loadtests.proxies.proxy import DEPLOY, HOSTS, PROXIES, Proxy, in_front
from tests.support.service import wait_for


class Breaking(BaseHTTPRequestHandler):
    """A host, y = 2 x, that ends each fortieth connection instead of an answer."""

    protocol_version = "HTTP/1.1"
    numbers = count(1)

    def do_GET(self) -> None:
        self._answer(b"{}")

    def do_POST(self) -> None:
        row = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if next(self.numbers) % 40:
            self._answer(json.dumps({"data": {"y": 2 * row["x"]}}).encode())
        else:
            self.close_connection = True

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Log nothing."""


def named(proxy: Proxy) -> str:
    return proxy.name


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    with two_hosts(tmp_path_factory.mktemp("hosts")) as hosts:
        yield hosts


@pytest.fixture(scope="module")
def ports(
    hosts: Hosts, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, int]]:
    """Where each proxy listens that is installed."""
    installed = [proxy for proxy in PROXIES if proxy.executable]
    folder = tmp_path_factory.mktemp("proxies")
    with in_front(installed, folder, hosts.ports) as ports:
        yield ports


def port_of(proxy: Proxy, ports: dict[str, int]) -> int:
    if proxy.name not in ports:
        pytest.skip(f"{proxy.name} is missing ({proxy.install})")
    return ports[proxy.name]


@pytest.mark.parametrize("proxy", PROXIES, ids=named)
def test_a_config_is_valid(proxy: Proxy, tmp_path: Path) -> None:
    if not proxy.executable:
        pytest.skip(f"{proxy.name} is missing ({proxy.install})")
    config = proxy.adapted(tmp_path, 8080, [8081, 8082])
    done = subprocess.run(
        [proxy.executable, *proxy.check(config)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stderr
    assert "[warn]" not in done.stderr


@pytest.mark.parametrize("proxy", PROXIES, ids=named)
def test_a_config_says_how_the_service_is_to_be_set(proxy: Proxy) -> None:
    text = (DEPLOY / proxy.config).read_text()
    assert "port: 8080, request_seconds: 0.3, trusted_proxies: [10.0.0.10]" in text
    assert all(host in text for host in HOSTS)


@pytest.mark.parametrize("proxy", PROXIES, ids=named)
def test_what_passes(proxy: Proxy, ports: dict[str, int]) -> None:
    port = port_of(proxy, ports)
    path = "/v1/api/model/m"
    wait_for(lambda: _predicts(port), 30)  # once health checks have passed
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        for x in range(5):
            found = client.post(f"{path}/eval", json={"x": x})
            assert found.json()["data"] == {"y": 2.0 * x}
        lines = client.post(f"{path}/stream", content=b'{"x":1}\n{"x":2}\n')
        assert [line.count('"y"') for line in lines.text.splitlines()] == [1, 1]
        own = client.post(
            f"{path}/eval", json={"x": 1}, headers={"X-Request-Id": "a-1"}
        )
        assert own.headers.get_list("x-request-id") == ["a-1"]
        ids = {client.get(f"{path}/eval?x=1").headers["x-request-id"] for _ in range(3)}
        assert len(ids) == 3
        for hidden in ("/metrics", "/v1/api/config", "/readyz", "/"):
            assert client.get(hidden).status_code == 404


def test_no_request_fails_when_a_host_does(hosts: Hosts, ports: dict[str, int]) -> None:
    with Load(ports, FACTORS[:1]) as load:
        wait_for(lambda: all(one.requests > 50 for one in load.results.values()), 30)
        kill(hosts)
        so_far = {name: one.requests for name, one in load.results.items()}
        wait_for(
            lambda: all(
                one.requests > so_far[name] + 50 for name, one in load.results.items()
            ),
            30,
        )
    assert [one.failures for one in load.results.values()] == [{}] * len(ports)


def test_a_host_is_gone_and_the_other_one_breaks_connections(tmp_path: Path) -> None:
    installed = [proxy for proxy in PROXIES if proxy.executable]
    with ThreadingHTTPServer(("127.0.0.1", 0), Breaking) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            hosts = [free_port(), server.server_address[1]]
            with in_front(installed, tmp_path, hosts) as ports:
                for port in ports.values():
                    wait_for(lambda port=port: _predicts(port), 30)  # type: ignore[misc]
                with Load(ports, FACTORS[:1]) as load:
                    results = load.results.values()
                    wait_for(lambda: all(one.requests > 200 for one in results), 60)
        finally:
            server.shutdown()
            thread.join()
    assert [one.failures for one in results] == [{}] * len(installed)


def _predicts(port: int) -> bool:
    url = f"http://127.0.0.1:{port}/v1/api/model/m/eval"
    return httpx.post(url, json={"x": 2}).status_code == 200
