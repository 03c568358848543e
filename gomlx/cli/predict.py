"""gomlx predict: one row, or a file of them."""

import logging
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from gomlx.cli.asking import (
    Host,
    Redis,
    Settings,
    client_of,
    known,
    options,
    pairs,
    read,
    to_json,
)
from gomlx.cli.rows import OnError, Rows
from gomlx.cli.terminal import FAILED, INVALID, errors, output, reported, tell
from gomlx.client.client import Client
from gomlx.contract.document import Contract
from gomlx.errors import InvalidInput


def predict(
    model: Annotated[str, typer.Argument(help="The id of a model.")],
    host: Host,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME=VALUE]…",
            help="The row; with --input, values for every row of the file.",
        ),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--input", "-i", help="Rows: .csv, .tsv, .jsonl, .ndjson or .parquet."
        ),
    ] = None,
    into: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The same rows with the answers."),
    ] = None,
    on_error: Annotated[
        OnError, typer.Option(help="What to do about a row that is refused.")
    ] = OnError.stop,
    prefix: Annotated[str, typer.Option(help="Of the names of new columns.")] = "",
    force: Annotated[
        bool, typer.Option("--force", help="Replace the output; begin anew.")
    ] = False,
    redis: Redis = None,
    timeout: Annotated[float, typer.Option(help="Seconds, for each request.")] = 60.0,
    settings: Settings = None,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose", "-v", help="Tell where answers are from (standard error)."
        ),
    ] = False,
) -> None:
    """Ask a service for the predictions of one row, or of all rows of a file.

    One row, its answer as JSON on standard output:

        gomlx predict --host http://a:8080 flights carrier=UA origin=EWR dest=IAH
        month=7 hour=20 distance=1400

    A file, to one of the same kind with a column for each output (of a model with a
    transformer: one column, `answer`, with JSON):

        gomlx predict --host http://a:8080,http://b:8080 flights -i rows.csv
        -o late.csv hour=20

    The file needs a column for each input that is not given as NAME=VALUE; columns of
    other names are kept. Inputs of more than one element are JSON. A run that was
    interrupted goes on where it ended when it is started again, in OUTPUT.part and
    OUTPUT.position. A service that is slow or busy is asked for fewer rows at once, and
    what fails is asked again for two timeouts. GOMLX_HOST may stand for --host.

    Exit codes: 0 done, 1 failed (run it again to go on), 2 wrongly called.
    """
    if verbose:
        logging.basicConfig(level="INFO", format="%(name)s: %(message)s")
    made = options(settings, timeout_seconds=timeout)
    given = pairs(words or ())
    if (source is None) != (into is None):
        tell("--input and --output go together")
        raise typer.Exit(INVALID)
    with reported(), client_of(model, host, redis, made) as client:
        if source is None or into is None:
            _one(client, given, verbose)
            return
        fixed = _values(known(client), given)
        rows = Rows(client, source, into, fixed, prefix)
        done = rows.run(on_error, force, verbose)
    raise typer.Exit(0 if done else FAILED)


def _one(client: Client, given: dict[str, str], verbose: bool) -> None:
    """Show the answer of one row."""
    row = _values(known(client), given)
    try:
        answer = client.predict(row)
    except InvalidInput as error:
        tell(str(error))
        raise typer.Exit(INVALID) from None
    output.out(orjson.dumps(to_json(dict(answer))).decode(), highlight=False)
    if verbose:
        cached = "cached" if answer.cached else "computed"
        took = f"{answer.seconds * 1000:.2f} ms"
        errors.print(f"{cached}; tier {answer.tier}; version {answer.version}; {took}")


def _values(contract: Contract, given: dict[str, str]) -> dict[str, Any]:
    """Return the values of words, by the types of the model's inputs."""
    tensors = {tensor.name: tensor for tensor in contract.signature.fields}
    try:
        for name in given:
            if name not in tensors:
                has = ", ".join(tensors)
                raise InvalidInput(f"no such input; the model has: {has}", name)
        return {name: read(tensors[name], text) for name, text in given.items()}
    except InvalidInput as error:
        tell(str(error))
        raise typer.Exit(INVALID) from None
