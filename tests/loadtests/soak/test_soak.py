"""A life in short: what happens when, what is judged, and a few seconds of it."""

import asyncio
import random
from pathlib import Path

import pytest

from loadtests.soak.__main__ import Lived, live, table
from loadtests.soak.clients import Clients
from loadtests.soak.gauges import TOLERANCES, Sample, trends
from loadtests.soak.life import lived
from loadtests.soak.plot import plot
from loadtests.soak.schedule import Event, Kind, schedule
from tests.support.listening import listening


def test_everything_happens_in_an_order_that_the_seed_decides() -> None:
    events = schedule(150, 30, random.Random(1))
    assert {event.kind for event in events} == {*Kind}
    assert events == sorted(events)
    assert events == schedule(150, 30, random.Random(1))
    assert events != schedule(150, 30, random.Random(2))


def test_the_master_is_killed_before_gauges_are_judged() -> None:
    events = schedule(1200, 240, random.Random(1))
    (at,) = [event.at for event in events if event.kind is Kind.MASTER]
    assert at < 240
    assert len(events) > 150


def samples(growth: float) -> list[Sample]:
    """Return samples of 100 s that grow by so much a second; the first 20 s much."""
    return [
        Sample(at, (100.0 + growth * at,) * len(TOLERANCES))
        if at >= 20
        else Sample(at, (5.0 * at,) * len(TOLERANCES))
        for at in range(100)
    ]


@pytest.mark.parametrize(("growth", "is_flat"), [(0.0, True), (2.0, False)])
def test_growth_is_judged_after_the_warm_up(growth: float, is_flat: bool) -> None:
    found = trends(samples(growth), 20)
    assert [one.name for one in found] == [*TOLERANCES]
    assert {one.is_flat for one in found} == {is_flat}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("version", "y", "problems"),
    [("v", 6.0, 0), ("v", 4.0, 1), ("w", 6.0, 0), ("w", 9.0, 1), ("none", 6.0, 1)],
)
async def test_an_answer_is_compared_with_the_version_that_it_names(
    version: str, y: float, problems: int
) -> None:
    """`w` becomes known later; `none` never does."""

    async def answer(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        size = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        x = float((await reader.readexactly(size)).partition(b":")[2][:-1])
        body = b'{"data":{"y":%d}}' % (x * y / 2)
        fields = b"gomlx-version: %b\r\ncontent-length: %d\r\n\r\n"
        writer.write(b"HTTP/1.1 200 OK\r\n" + fields % (version.encode(), len(body)))
        writer.write(body)
        await writer.drain()

    async with listening(answer) as port:
        clients = Clients(port, ["m"], random.Random(3))
        clients.factors["v"] = 3.0
        await clients.live(0.01)
    clients.factors["w"] = 3.0
    clients.judge_rest()
    assert len(clients.problems) == problems
    assert clients.outcomes["status 200"] == 1


def test_a_few_seconds(tmp_path: Path) -> None:
    events = [Event(1.0, Kind.FLUSHED), Event(1.5, Kind.BURST), Event(2, Kind.HOSTILE)]
    with lived(tmp_path, random.Random(1)) as (life, service, clients):
        run = Lived(6.0, 1, events, [], clients)
        asyncio.run(live(life, service, clients, run))
    assert clients.outcomes["status 200"] > 100
    assert not clients.problems
    assert run.samples
    text = table(run)
    assert "| /dev/shm, MB | 16.0 | 16.0 |" in text
    assert plot("life", run.samples, events, 1.0).count("<polyline") == len(TOLERANCES)
