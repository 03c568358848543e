"""gomlx bench: what a deployment's answers cost, asked as programs ask it."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import typer
from rich.table import Table

from gomlx.cli.asking import Host, Redis, Settings, hosts_of, options
from gomlx.cli.latency import Latency, duration, legend, plot
from gomlx.cli.made_up import Columns, MadeUp
from gomlx.cli.rows import table_of
from gomlx.cli.tables import START, Plan
from gomlx.cli.terminal import FAILED, output, reported, tell, wrong
from gomlx.client.answer import Answer
from gomlx.client.async_client import AsyncClient
from gomlx.contract.document import Contract
from gomlx.errors import GomlxError

_MADE = 1000  # rows at a time
_ORDER = ("local", "redis", "L1", "server", "model")


def bench(
    model: Annotated[str, typer.Argument(help="The id of a model.")],
    host: Host,
    rows: Annotated[
        Path | None,
        typer.Option(help="A file as for `gomlx predict`, again and again."),
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long to ask.")] = 10.0,
    concurrency: Annotated[
        int, typer.Option(min=1, help="Calls under way at once.")
    ] = 8,
    batch: Annotated[int, typer.Option(min=1, help="Rows of each call.")] = 1,
    seed: Annotated[int, typer.Option(help="Of the rows that are made up.")] = 0,
    redis: Redis = None,
    timeout: Annotated[float, typer.Option(help="Seconds, for each call.")] = 5.0,
    settings: Settings = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Ask a deployment for a while; show hit ratio and latency by tier.

        gomlx bench --host http://a:8080,http://b:8080 flights --seconds 30

        gomlx bench --host http://a:8080 flights --rows rows.csv --batch 100 --json

    Without --rows, rows are made from the model's dictionary: each input's values
    come as often as Zipf says. A call belongs to the furthest tier that one of its
    rows is from: local (this process), redis, L1 (the service's shared memory),
    model (it ran); server, in batches: either of the last two. The client's own cache
    is cold at first; --option ttl_seconds=0 goes without it.

    Exit codes: 0 done, 1 no answer, or some calls failed, 2 wrongly called.
    """
    made = options(settings, timeout_seconds=timeout)
    client = AsyncClient(model, hosts_of(host), redis=redis, options=made)
    load = Load(client, rows, batch, random.Random(seed))
    with reported():
        asyncio.run(load.run(seconds, concurrency))
    if as_json:
        output.print_json(data=load.as_dict())
    else:
        load.show()
    if load.failed:
        for error, count in load.failed.most_common(5):
            tell(f"{count:,} calls: {error}")
        raise typer.Exit(FAILED)


class Load:
    """One run: calls, what they took and where the answers were from."""

    def __init__(
        self, client: AsyncClient, rows: Path | None, batch: int, chance: random.Random
    ) -> None:
        self._client, self._rows, self._batch = client, rows, batch
        self._chance = chance
        self._latency: dict[str, Latency] = {}
        self._answers: Counter[str] = Counter()
        self._cached = 0
        self.failed: Counter[str] = Counter()
        self._took = 0.0

    async def run(self, seconds: float, concurrency: int) -> None:
        """Ask until the time is up. Raises what the client does at its start."""
        async with self._client as client:
            assert client.contract is not None
            questions = self._questions(client.contract)
            first = next(questions)  # if there is something wrong with them, say so
            questions = chain((first,), questions)
            started = perf_counter()
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(concurrency):
                        group.create_task(self._ask(questions, started + seconds))
            except ExceptionGroup as all_of_them:
                raise all_of_them.exceptions[0] from None
            self._took = perf_counter() - started

    @property
    def tiers(self) -> dict[str, Latency]:
        """The latencies of calls by tier, the nearest first."""
        order = {tier: i for i, tier in enumerate(_ORDER)}
        names = sorted(self._latency, key=lambda tier: order.get(tier, 2))
        return {name: self._latency[name] for name in names}

    def as_dict(self) -> dict[str, Any]:
        """Return all figures; seconds, where nothing else is said."""
        rows = self._answers.total()
        calls = sum(latency.count for latency in self._latency.values())
        return {
            "seconds": self._took,
            "calls": calls,
            "calls_per_second": calls / self._took,
            "failed": self.failed.total(),
            "rows": rows,
            "hit_ratio": self._cached / rows if rows else 0.0,
            "rows_by_tier": dict(self._answers),
            "latency": {tier: one.as_dict() for tier, one in self.tiers.items()},
        }

    def show(self) -> None:
        """Print tables for people."""
        told = self.as_dict()
        table = Table("tier", "rows", "share", "calls", "p50", "p99", "max")
        for column in table.columns[1:]:
            column.justify = "right"
        tiers = self.tiers
        for tier in dict.fromkeys((*tiers, *self._answers)):
            rows = self._answers[tier]
            share = f"{rows / told['rows']:.1%}"
            latency = tiers.get(tier, Latency())
            times = (latency.quantile(0.5), latency.quantile(0.99), latency.most)
            shown = map(duration, times) if latency.count else ("",) * 3
            table.add_row(tier, f"{rows:,}", share, f"{latency.count:,}", *shown)
        output.print(table)
        if tiers:
            output.print(plot(tiers))
            output.print(legend(list(tiers)))
        output.print(
            f"hit ratio {told['hit_ratio']:.1%}; {told['calls_per_second']:,.0f} calls"
            f" and {told['rows'] / self._took:,.0f} rows a second"
        )

    async def _ask(self, questions: Iterator[Columns], until: float) -> None:
        predict = self._predict
        while (started := perf_counter()) < until:
            question = next(questions)
            started = perf_counter()
            try:
                answers = await predict(question)
            except GomlxError as error:
                self.failed[f"{type(error).__name__}: {error}"[:200]] += 1
                await asyncio.sleep(0.01)  # what refuses at once would be asked only
                continue
            self._note(answers, perf_counter() - started)
            await asyncio.sleep(0)  # an answer known here does not let others run

    async def _predict(self, columns: Columns) -> list[Answer]:
        if self._batch > 1:
            return await self._client.predict_batch(columns)
        row = {name: column[0] for name, column in columns.items()}
        return [await self._client.predict(row)]

    def _note(self, answers: list[Answer], seconds: float) -> None:
        tiers = Counter(answer.tier for answer in answers)
        self._answers.update(tiers)
        self._cached += sum(answer.cached for answer in answers)
        furthest = max(tiers, key=lambda t: _ORDER.index(t) if t in _ORDER else 2)
        self._latency.setdefault(furthest, Latency()).add(seconds)

    def _questions(self, contract: Contract) -> Iterator[Columns]:
        """Yield questions without end, each of as many rows as a batch has."""
        size = max(_MADE // self._batch, 1) * self._batch
        if self._rows is None:
            many = _made_up(contract, self._chance, size)
        else:
            many = _from_file(self._rows, contract, size)
        for columns in many:
            size = len(next(iter(columns.values())))
            for first in range(0, size, self._batch):
                cut = slice(first, first + self._batch)
                yield {name: column[cut] for name, column in columns.items()}


def _made_up(contract: Contract, chance: random.Random, size: int) -> Iterator[Columns]:
    made = MadeUp(contract, chance)
    while True:
        yield made.columns(size)


def _from_file(path: Path, contract: Contract, size: int) -> Iterator[Columns]:
    """Yield a file's rows, so many at a time, and from the start again."""
    table, plan = table_of(path), Plan(contract, contract.signature.fields, "gomlx ")
    names = table.columns()
    if missing := [t.name for t in plan.inputs if names and t.name not in names]:
        raise wrong(f"{path}: no column for: {', '.join(missing)}")

    while True:
        chunk = None
        for chunk in table.chunks(START, size):
            yield table.inputs(chunk.rows, plan)
        if chunk is None:
            raise wrong(f"{path}: there are no rows")
