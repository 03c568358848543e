"""gomlx bench: hit ratio and latency of a deployment, as its clients see them."""

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from gomlx.cli.client_options import (
    HostUrls,
    ModelId,
    OptionPairs,
    RedisUrl,
    client_options,
    host_urls,
)
from gomlx.cli.files.formats import open_table
from gomlx.cli.files.tables import START, Columns
from gomlx.cli.load import LoadResult, Predict, apply_load
from gomlx.cli.sample_rows import SampleRows, ValueColumns
from gomlx.cli.terminal import (
    FAILED,
    errors_reported,
    output,
    print_error,
    usage_error,
)
from gomlx.client.answer import Answer
from gomlx.client.async_client import AsyncClient
from gomlx.contract.document import Contract

HELP = """
Apply load to a deployment for a while; show hit ratio and latency by tier.

Rows made for the model; rows of a file, 100 in a call:

    gomlx bench --host http://a:8080,http://b:8080 flights --seconds 30
    gomlx bench --host http://a:8080 flights --rows rows.csv --batch 100 --json

Without --rows, rows are made from the model's dictionary; the values of each input are
Zipf distributed. A call counts for the furthest tier that one of its rows came from:
local (this process), redis, L1 (the service's shared memory), model (it ran); in
batches also server: L1 or model. The client's own cache is cold at first; --option
ttl_seconds=0 switches it off. The environment variable GOMLX_HOST can replace --host;
GOMLX_TOKEN may have a token.

Exit codes: 0 done, 1 no answer or some calls failed, 2 wrong arguments.
"""
RowsFile = Annotated[
    Path | None,
    typer.Option(help="A file of rows as for `gomlx predict`, repeated."),
]
LoadSeconds = Annotated[
    float, typer.Option(min=0.1, help="How long the load lasts, in seconds.")
]
Concurrency = Annotated[int, typer.Option(min=1, help="The number of calls at once.")]
BatchRows = Annotated[int, typer.Option(min=1, help="The number of rows in a call.")]
Seed = Annotated[
    int, typer.Option(help="The seed of the rows that are made from the dictionary.")
]
CallTimeout = Annotated[
    float, typer.Option(help="The longest a call takes, in seconds.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
_CHUNK_ROWS = 1000


def bench(
    model: ModelId,
    host: HostUrls,
    rows: RowsFile = None,
    seconds: LoadSeconds = 10.0,
    concurrency: Concurrency = 8,
    batch: BatchRows = 1,
    seed: Seed = 0,
    redis: RedisUrl = None,
    timeout: CallTimeout = 5.0,
    settings: OptionPairs = None,
    as_json: AsJson = False,
) -> None:
    """Apply load to a deployment and print what its clients see; HELP has the rest."""
    options = client_options(settings, timeout_seconds=timeout)
    client = AsyncClient(model, host_urls(host), redis=redis, options=options)

    async def run() -> LoadResult:
        async with client:
            contract = client.contract
            assert contract is not None
            batches = _batches(contract, rows, batch, random.Random(seed))
            predict = client.predict_batch if batch > 1 else _single_rows(client)
            return await apply_load(predict, batches, seconds, concurrency)

    with errors_reported():
        result = asyncio.run(run())
    if as_json:
        output.print_json(data=result.as_dict())
    else:
        result.print_tables()
    for error, count in result.failed.most_common(5):
        print_error(f"{count:,} calls: {error}")
    if result.failed:
        raise typer.Exit(FAILED)


def _single_rows(client: AsyncClient) -> Predict:
    """Return a function that predicts the only row of columns."""

    async def predict(columns: ValueColumns) -> list[Answer]:
        row = {name: column[0] for name, column in columns.items()}
        return [await client.predict(row)]

    return predict


def _batches(
    contract: Contract, path: Path | None, batch: int, randomness: random.Random
) -> Iterator[ValueColumns]:
    """Yield the columns of calls for ever, of `batch` rows each."""
    chunk_rows = max(_CHUNK_ROWS // batch, 1) * batch
    if path is None:
        chunks = SampleRows(contract, randomness).endless(chunk_rows)
    else:
        chunks = _repeat_file(path, contract, chunk_rows)
    for columns in chunks:
        size = len(next(iter(columns.values())))
        for first in range(0, size, batch):
            part = slice(first, first + batch)
            yield {name: column[part] for name, column in columns.items()}


def _repeat_file(path: Path, contract: Contract, size: int) -> Iterator[ValueColumns]:
    """Yield a file's rows, size at a time, and from the start again."""
    table = open_table(path)
    columns = Columns(contract, contract.signature.fields, "gomlx ")
    names = table.names()
    if missing := [t.name for t in columns.inputs if names and t.name not in names]:
        raise usage_error(f"{path}: no column for: {', '.join(missing)}")
    while True:
        chunk = None
        for chunk in table.chunks(START, size):
            yield table.inputs(chunk.rows, columns)
        if chunk is None:
            raise usage_error(f"{path}: there are no rows")
