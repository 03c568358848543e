"""Eight hours of a service's life in twenty minutes: python -m loadtests.soak

    python -m loadtests.soak [--minutes 20] [--seed N] [--no-save]

A service of two workers and two models, with shared memory and Redis, is used by
clients that come and go, while models get new, earlier and broken versions, workers and
their master are killed, and Redis fails in five ways: all by a schedule that is drawn
from the seed. Every answer is compared with what the version gives that it names.

After the first fifth of the time, memory, files and the size of a scrape have to be
flat (gauges.py). Exits with 1 if something has grown, if an answer is wrong, or if a
request failed whose worker was not killed. Writes loadtests/results/soak.md and
soak.svg.
"""

import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from rich.console import Console

from loadtests.bench.results import ROOT
from loadtests.soak.clients import Clients
from loadtests.soak.gauges import Sample, Trend, sample, trends
from loadtests.soak.life import Life, lived
from loadtests.soak.plot import plot
from loadtests.soak.schedule import Event, schedule
from tests.support.service import Service

_CONNECTIONS = 6
_SAMPLE_SECONDS = 2.0
_WARM_SHARE = 0.2
_SHOWN_PROBLEMS = 20
_FOLDER = ROOT / "loadtests" / "results"


class Lived(NamedTuple):
    """What a run was, and what it showed."""

    seconds: float
    seed: int
    events: Sequence[Event]
    samples: Sequence[Sample]
    clients: Clients

    @property
    def trends(self) -> list[Trend]:
        """What each gauge did."""
        return trends(self.samples, self.seconds * _WARM_SHARE)


async def live(life: Life, service: Service, clients: Clients, run: Lived) -> None:
    """Let everything happen, with samples meanwhile. The samples are those of `run`."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    rng = random.Random(run.seed)
    async with asyncio.TaskGroup() as group:
        for _ in range(_CONNECTIONS):
            group.create_task(clients.come_and_go(start + run.seconds))
        group.create_task(_sampled(service, run, start))
        for event in run.events:
            await asyncio.sleep(max(0.0, start + event.at - loop.time()))
            group.create_task(life.let(event.kind, rng))
    clients.judge_rest()


async def _sampled(service: Service, run: Lived, start: float) -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(run.samples, list)
    while (at := loop.time() - start) < run.seconds:
        found = await asyncio.to_thread(sample, service, at)
        if found:
            run.samples.append(found)
        await asyncio.sleep(_SAMPLE_SECONDS)


def table(run: Lived) -> str:
    """Return what happened and what was measured, as Markdown."""
    outcomes = run.clients.outcomes
    counts = ", ".join(f"{count:,} {what}" for what, count in outcomes.most_common())
    lines = [
        f"`python -m loadtests.soak --minutes {run.seconds / 60:g} --seed {run.seed}`, "
        f"{time.strftime('%Y-%m-%d')}.",
        "",
        f"{outcomes.total():,} requests: {counts}. {len(run.events)} events.",
        "",
        "| | first third | last third | may grow by | |",
        "| --- | --- | --- | --- | --- |",
    ]
    for one in run.trends:
        verdict = "flat" if one.is_flat else "**grows**"
        lines.append(
            f"| {one.name} | {one.first:,.1f} | {one.last:,.1f} | {one.allowed:,.1f} "
            f"| {verdict} |"
        )
    return "\n".join([*lines, "", "![Gauges over time](soak.svg)", ""])


def main(
    minutes: Annotated[float, typer.Option(min=0.5)] = 20.0,
    seed: Annotated[int | None, typer.Option(help="Random without it.")] = None,
    save: Annotated[bool, typer.Option(help="Write loadtests/results.")] = True,
) -> None:
    """Live, judge, and write the results."""
    console = Console(width=110, highlight=False)
    seconds = minutes * 60
    chosen = time.time_ns() // 1_000_000_000 if seed is None else seed
    rng = random.Random(chosen)
    events = schedule(seconds, seconds * _WARM_SHARE, rng)
    with (
        tempfile.TemporaryDirectory(prefix="gomlx-") as folder,
        lived(Path(folder), rng) as (life, service, clients),
    ):
        run = Lived(seconds, chosen, events, [], clients)
        asyncio.run(live(life, service, clients, run))
    console.print(table(run), markup=False)
    for problem in clients.problems[:_SHOWN_PROBLEMS]:
        console.print(problem, markup=False)
    if save:
        title = f"A service's life: {minutes:g} minutes, seed {chosen}"
        drawn = plot(title, run.samples, events, seconds * _WARM_SHARE)
        (_FOLDER / "soak.svg").write_text(drawn)
        (_FOLDER / "soak.md").write_text(f"# A service's life\n\n{table(run)}")
    is_flat = all(one.is_flat for one in run.trends)
    sys.exit(0 if is_flat and not clients.problems else 1)


if __name__ == "__main__":
    typer.run(main)
