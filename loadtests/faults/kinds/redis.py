"""Redis that ends, hangs, is full, refuses, forgets, or lies.

The models of these loads have no L1: every row is looked up in Redis, within a deadline
of 5 ms, and every value is signed.
"""

import os
import random
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import cycle

from loadtests.faults.fault import Fault, Offered
from loadtests.faults.scene import Scene
from tests.support.redis_servers import Server, server

_ROWS = "gomlx:1:r:*"
_SLOTS = 16384
_PAUSE_SECONDS = 0.02
_LONGEST = 1.0  # many times the deadline: the machine has other work
_LOADING_MICROSECONDS = 2000  # for each key
NOISE = (
    b"\x00\xff" * 50,
    b"$-7\r\n",
    b"*1000000000\r\n",
    b"+OK\r\n" * 9,
    b"HTTP/1.1",
    b"",
)


@contextmanager
def _killed(scene: Scene) -> Iterator[None]:
    """It ends, and comes back empty."""
    redis = scene.redis.redis
    redis.process.kill()
    redis.process.wait()
    yield
    folder = redis.folder.with_name("again")
    started = server(folder, port=redis.port)
    scene.redis.redis = scene.redis.again.enter_context(started)


@contextmanager
def _stopped(scene: Scene) -> Iterator[None]:
    pid = scene.redis.redis.process.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def _slow(scene: Scene) -> Iterator[None]:
    scene.redis.relay.delay_seconds = 0.2
    yield
    scene.redis.relay.delay_seconds = 0


@contextmanager
def _with(begin: Sequence[str], end: Sequence[str], scene: Scene) -> Iterator[None]:
    """Run a command, and in the end another."""
    scene.redis.redis.execute(*begin)
    scene.redis.redis.execute("CLIENT", "KILL", "TYPE", "normal")
    yield
    scene.redis.redis.execute(*end)


@contextmanager
def _again_and_again(
    act: Callable[[Server, random.Random], None], scene: Scene
) -> Iterator[None]:
    """Do something to Redis all the time."""
    done = threading.Event()
    chance = random.Random(1)

    def repeat() -> None:
        while not done.wait(_PAUSE_SECONDS):
            with suppress(OSError):
                act(scene.redis.redis, chance)

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    yield
    done.set()
    thread.join(10)


def _flush(redis: Server, chance: random.Random) -> None:
    redis.execute("FLUSHALL")


def _lie(redis: Server, chance: random.Random) -> None:
    """Write well-formed answers that are wrong, and move right ones to other names."""
    names = redis.execute("KEYS", _ROWS)
    for _ in range(min(len(names), 20)):
        name, other = chance.choice(names), chance.choice(names)
        value = redis.execute("GET", other)
        if value and chance.random() < 0.5:
            redis.execute("SET", name, value)
        elif value:
            redis.execute("SET", name, value.replace("2", "3"))


@contextmanager
def _loading(scene: Scene) -> Iterator[None]:
    """It reads its data again, slowly, and answers LOADING meanwhile."""
    redis = scene.redis.redis
    redis.execute("CONFIG", "SET", "key-load-delay", _LOADING_MICROSECONDS)
    redis.execute("CONFIG", "SET", "loading-process-events-interval-bytes", 1024)

    def reload() -> None:
        with suppress(OSError):
            redis.execute("DEBUG", "RELOAD")

    thread = threading.Thread(target=reload, daemon=True)
    thread.start()
    yield
    thread.join(30)
    redis.execute("CONFIG", "SET", "key-load-delay", 0)


@contextmanager
def _moving(scene: Scene) -> Iterator[None]:
    """All slots of a cluster wander from master to master, and their keys do not."""
    nodes = scene.redis.nodes
    ids = [node.execute("CLUSTER", "MYID") for node in nodes]
    done = threading.Event()

    def move() -> None:
        for slot in cycle(range(0, _SLOTS, 7)):
            if done.is_set():
                return
            owner = ids[slot % len(ids)]
            for node in nodes:
                node.execute("CLUSTER", "SETSLOT", slot, "NODE", owner)

    thread = threading.Thread(target=move, daemon=True)
    thread.start()
    yield
    done.set()
    thread.join(10)


@contextmanager
def _noise(scene: Scene) -> Iterator[None]:
    """Something else answers: bytes that mean nothing, too much, or nothing."""
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)

        def answer() -> None:
            for noise in cycle(NOISE):
                if done.is_set():
                    return
                with suppress(OSError):
                    _answer(listener, noise)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        scene.redis.relay.target = listener.getsockname()[1]
        scene.redis.redis.execute("CLIENT", "KILL", "TYPE", "normal")
        yield
        done.set()
        thread.join(10)
    scene.redis.relay.target = scene.redis.redis.port


def _answer(listener: socket.socket, noise: bytes) -> None:
    peer, _ = listener.accept()
    with peer:
        peer.settimeout(0.2)
        peer.recv(100)
        peer.sendall(noise)
        peer.recv(100)


_READ_ONLY = partial(_with, ("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE"))
_FULL = partial(
    _with, ("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")
)
_REVOKED = partial(
    _with,
    ("ACL", "SETUSER", "default", "-@all", "+acl", "+client"),
    ("ACL", "SETUSER", "default", "+@all"),
)
_R = Offered("r")
FAULTS = (
    Fault("Redis is stopped", _stopped, longest=_LONGEST, offered=_R),
    Fault("Redis is slow", _slow, longest=_LONGEST, offered=_R),
    Fault("Redis is full", _FULL, longest=_LONGEST, offered=_R),
    Fault("Redis is read-only", _READ_ONLY, longest=_LONGEST, offered=_R),
    Fault("Redis is loading", _loading, longest=_LONGEST, offered=_R),
    Fault("Redis revokes all rights", _REVOKED, longest=_LONGEST, offered=_R),
    Fault(
        "Redis is flushed again and again",
        partial(_again_and_again, _flush),
        longest=_LONGEST,
        offered=_R,
    ),
    Fault("Redis lies", partial(_again_and_again, _lie), longest=_LONGEST, offered=_R),
    Fault("Redis talks nonsense", _noise, longest=_LONGEST, offered=_R),
    Fault("slots move, MOVED storms", _moving, longest=_LONGEST, offered=Offered("c")),
    Fault("Redis is killed", _killed, longest=_LONGEST, offered=_R),
)
