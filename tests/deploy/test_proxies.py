"""The proxies' configs of deploy/: valid, and no request fails while a host does."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from loadtests.proxies.hosts import FACTORS, Hosts, kill, two_hosts
from loadtests.proxies.load import Load
from loadtests.proxies.proxy import DEPLOY, HOSTS, PROXIES, Proxy, in_front
from tests.support.service import wait_for


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
    base = f"http://127.0.0.1:{port_of(proxy, ports)}"
    path = "/v1/api/model/m"

    def answers() -> bool:
        return httpx.post(f"{base}{path}/eval", json={"x": 2}).status_code == 200

    wait_for(answers, 30)  # once health checks have passed
    with httpx.Client(base_url=base, timeout=30) as client:
        for x in range(5):
            found = client.post(f"{path}/eval", json={"x": x})
            assert found.json()["data"] == {"y": 2.0 * x}
        lines = client.post(f"{path}/stream", content=b'{"x":1}\n{"x":2}\n')
        assert [line.count('"y"') for line in lines.text.splitlines()] == [1, 1]
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
