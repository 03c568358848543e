"""Clients in threads, in forked children and on event loops; how they start and end."""

import asyncio
import gc
import itertools
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

import gomlx
from gomlx import AsyncClient, Client, FakeTransport
from gomlx.client.network.transport import Request, Response
from gomlx.errors import ConnectionFailed
from tests.client.fake import QUIET, doubling, hosts
from tests.support.service import Service


@pytest.fixture
def transport() -> FakeTransport:
    return doubling()


@pytest.fixture
def client(transport: FakeTransport) -> Iterator[Client]:
    with Client("m", "http://fake", transport=transport, options=QUIET) as client:
        yield client


def test_threads_share_requests(transport: FakeTransport) -> None:
    with Client("m", "http://f", transport=transport, options=QUIET) as client:
        barrier = threading.Barrier(20)
        answers = []

        def call() -> None:
            barrier.wait()
            answers.extend(client.predict_batch({"word": "a", "x": list(range(50))}))

        threads = [threading.Thread(target=call) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [a["y"] for a in answers] == [x * 2 for x in range(50)] * 20
    assert len(transport.rows) == 50


FORKS = """
import asyncio, gc, os, sys
from gomlx import AsyncClient, Client, Options

def child(work):
    if pid := os.fork():
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    else:
        work()
        gc.collect()
        sys.exit()

def blocking():
    assert client.predict(x=1.5).tier == "local"
    assert client.predict(x=3.5) == {"y": 7}
    client.close()

def asynchronous():
    assert asyncio.run(both(2.5, 4.5)) == ["local", {"y": 9}]

async def both(known, new):
    return [(await later.predict(x=known)).tier, await later.predict(x=new)]

options = Options(timeout_seconds=30, refresh_seconds=0)
client = Client("scale", sys.argv[1], options=options)
later = AsyncClient("scale", sys.argv[1], options=options)
client.predict(x=1.5)
runner = asyncio.Runner()
runner.run(later.predict(x=2.5))
for work in (blocking, asynchronous):
    child(work)
assert client.predict(x=5.5) == {"y": 11}  # over the connections it had
assert runner.run(both(2.5, 6.5)) == ["local", {"y": 13}]
runner.run(later.close())
runner.close()
"""


def test_forked_clients_open_their_own_connections(flying: Service) -> None:
    """The parent's go on, whatever the children collect and however they end."""
    command = [sys.executable, "-W", "error", "-c", FORKS, flying.url]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_client_without_references_ends(transport: FakeTransport) -> None:
    before = set(threading.enumerate())
    answer = Client("m", "http://f", transport=transport).predict(word="a", x=1)
    assert answer == {"y": 2}
    gc.collect()
    for thread in set(threading.enumerate()) - before:
        thread.join(60)
        assert not thread.is_alive()
    assert transport.is_closed


def test_a_closed_client_can_be_used_again(
    client: Client, transport: FakeTransport
) -> None:
    client.predict(word="a", x=1)
    for _ in range(2):
        client.close()
    assert client.predict(word="a", x=1).tier == "local"
    assert client.predict(word="b", x=1).tier == "model"


def test_closing_during_calls(transport: FakeTransport) -> None:
    """Each call fails or connects again; none waits for ever."""
    client = Client("m", "http://f", transport=transport, options=QUIET)
    outcomes = set[Any]()
    ended = threading.Event()

    def call(word: str) -> None:
        for n in itertools.count():
            if ended.is_set():
                return
            try:
                outcomes.add(client.predict(word=word, x=n)["y"] == 2 * n)
            except BaseException as error:
                outcomes.add(type(error))

    threads = [threading.Thread(target=call, args=(word,)) for word in "abcd"]
    for thread in threads:
        thread.start()
    for _ in range(300):
        client.close()
    ended.set()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    client.close()
    assert outcomes <= {True, ConnectionFailed}


def test_calls_do_not_wait_for_the_requests_of_others() -> None:
    """No lock is held while a call waits or a client connects."""
    slow = threading.Event()
    go = threading.Event()

    class Slow(FakeTransport):
        async def send(self, request: Request) -> Response:
            if b"slow" in (request.body or b""):
                slow.set()
                await asyncio.to_thread(go.wait)
            return await super().send(request)

    transport = Slow(doubling().answer, doubling().inputs)
    with Client("m", "http://f", transport=transport, options=QUIET) as client:
        client.predict(word="known", x=1)
        waiting = threading.Thread(
            target=client.predict, args=({"word": "slow", "x": 1},)
        )
        waiting.start()
        assert slow.wait(30)
        assert client.predict(word="known", x=1).tier == "local"
        assert client.predict_batch({"word": "other", "x": [1, 2]})[1] == {"y": 4}
        assert waiting.is_alive()
        go.set()
        waiting.join()


@pytest.mark.asyncio
async def test_inside_a_running_loop(transport: FakeTransport) -> None:
    async with AsyncClient("m", "http://f", transport=transport) as client:
        answers = await asyncio.gather(
            *(client.predict(word="a", x=n % 100) for n in range(1000))
        )
        assert [a["y"] for a in answers] == [n % 100 * 2 for n in range(1000)]
        assert len(transport.rows) == 100
        batch = await client.predict_batch({"word": "a", "x": [1, 1000]})
        assert [a.tier for a in batch] == ["local", "model"]
    assert transport.is_closed
    with Client("m", "http://f", transport=doubling()) as blocking:  # in a notebook
        assert blocking.predict(word="a", x=1) == {"y": 2}


@pytest.mark.asyncio
async def test_abandoned_requests_are_cancelled() -> None:
    transport = doubling()
    sent = asyncio.Event()
    ended = asyncio.Event()
    go = asyncio.Event()
    send = transport.send

    async def slow(request: Any) -> Any:
        if request.body:
            sent.set()
            try:
                await go.wait()
            except asyncio.CancelledError:
                ended.set()
                raise
        return await send(request)

    transport.send = slow  # type: ignore[method-assign]  # an instance's own
    async with AsyncClient("m", "http://f", transport=transport) as client:
        first = asyncio.create_task(client.predict(word="a", x=1))
        second = asyncio.create_task(client.predict(word="a", x=1))
        await sent.wait()
        first.cancel()
        await asyncio.wait([first])
        assert not ended.is_set()
        go.set()
        assert await second == {"y": 2}
        go.clear()
        alone = asyncio.create_task(client.predict(word="a", x=3))
        await asyncio.sleep(0)
        sent.clear()
        await sent.wait()
        alone.cancel()
        await asyncio.wait_for(ended.wait(), 30)


def test_public_names_are_imported_lazily() -> None:
    assert {"Client", "AsyncClient", "FakeTransport"} <= set(gomlx.__all__)
    for name in gomlx.__all__:
        assert getattr(gomlx, name)
    with pytest.raises(AttributeError, match="nothing"):
        gomlx.nothing  # noqa: B018  # the look-up is the test


COMMAND = """
import signal
from gomlx.__main__ import main

signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run may ignore it
main()
"""


@pytest.mark.asyncio
async def test_ctrl_c_ends_a_command_whose_host_does_not_respond(
    stack: AsyncExitStack, tmp_path: Path
) -> None:
    """Although the rows under way have a minute until their deadline."""

    async def never_responds(_: bytes, __: asyncio.StreamWriter) -> bytes:
        await asyncio.Event().wait()
        raise AssertionError

    (host,) = await hosts(stack, never_responds)
    (tmp_path / "rows.csv").write_text("x\n1\n2\n")
    words = ["predict", "--host", host.url, "m", "-i", "rows.csv", "-o", "out.csv"]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", COMMAND, *words), cwd=tmp_path
    )
    async with asyncio.timeout(90):
        while not host.bodies:
            await asyncio.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 130
