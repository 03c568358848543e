"""gomlx predict: the prediction of one row, or of every row of a file."""

import logging
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from gomlx.cli.client_options import (
    HostUrls,
    ModelId,
    OptionPairs,
    RedisUrl,
    client_options,
    contract_of,
    make_client,
)
from gomlx.cli.files.run import FileJob, FileRun, OnError
from gomlx.cli.terminal import FAILED, errors, errors_reported, output, usage_error
from gomlx.cli.values import parse_pairs, parse_value, to_json
from gomlx.client.client import Client
from gomlx.contract.document import Contract
from gomlx.errors import InvalidInput

HELP = """
Predict one row, or every row of a file.

One row, with its answer as JSON on standard output:

    gomlx predict --host http://a:8080 flights \\
        carrier=UA origin=EWR dest=IAH month=7 hour=20 distance=1400

A file, to a file of the same format with a new column for each output of the model (or
one column, `answer`, with JSON, if the model has a transformer):

    gomlx predict --host http://a:8080,http://b:8080 flights \\
        -i rows.csv -o late.csv hour=20

The file needs a column for each input that no NAME=VALUE gives; other columns are
copied. Inputs of more than one element are written as JSON. An interrupted run leaves
OUTPUT.part and OUTPUT.position; the same command continues it. If the service is slow
or overloaded, requests get smaller; requests that fail are repeated for two timeouts.
The environment variable GOMLX_HOST can replace --host; GOMLX_TOKEN may have a token.

Exit codes: 0 done, 1 failed (the same command continues), 2 wrong arguments.
"""
InputPairs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NAME=VALUE]…",
        help="The row; with --input, values for every row of the file.",
    ),
]
InputFile = Annotated[
    Path | None,
    typer.Option(
        "--input",
        "-i",
        help="A file of rows: .csv, .tsv, .jsonl, .ndjson or .parquet.",
    ),
]
OutputFile = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="The file for the rows with their answers."),
]
ErrorPolicy = Annotated[
    OnError, typer.Option(help="What to do about a row that the service refuses.")
]
Prefix = Annotated[str, typer.Option(help="Text before the names of the new columns.")]
Force = Annotated[
    bool, typer.Option("--force", help="Replace the output and start from row 1.")
]
RequestTimeout = Annotated[
    float, typer.Option(help="The longest a request takes, in seconds.")
]
SignatureName = Annotated[
    str | None,
    typer.Option("--signature", help="A further signature of the model."),
]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose",
        "-v",
        help="Print to standard error which tier and version answered.",
    ),
]


def predict(
    model: ModelId,
    host: HostUrls,
    words: InputPairs = None,
    source: InputFile = None,
    into: OutputFile = None,
    on_error: ErrorPolicy = OnError.stop,
    prefix: Prefix = "",
    force: Force = False,
    redis: RedisUrl = None,
    timeout: RequestTimeout = 60.0,
    settings: OptionPairs = None,
    signature: SignatureName = None,
    verbose: Verbose = False,
) -> None:
    """Predict one row, or every row of a file; HELP has the rest."""
    if verbose:
        logging.basicConfig(level="INFO", format="%(name)s: %(message)s")
    options = client_options(settings, timeout_seconds=timeout)
    pairs = parse_pairs(words or ())
    if (source is None) != (into is None):
        raise usage_error("--input and --output go together")
    with (
        errors_reported(),
        make_client(model, host, redis, options, signature) as client,
    ):
        contract = contract_of(client)
        values = _values(contract, pairs)
        if source is None or into is None:
            _predict_row(client, values, verbose)
            return
        if contract.rows_together:
            raise usage_error(
                f"model {model!r} answers the rows of a request together, and a file "
                "does not say which rows those are: use the Python client"
            )
        job = FileJob(source, into, values, prefix, on_error, force)
        is_done = FileRun(client, job).run(verbose)
    raise typer.Exit(0 if is_done else FAILED)


def _predict_row(client: Client, row: dict[str, Any], verbose: bool) -> None:
    """Print the answer of one row."""
    try:
        answer = client.predict(row)
    except InvalidInput as error:
        raise usage_error(str(error)) from None
    output.out(orjson.dumps(to_json(dict(answer))).decode(), highlight=False)
    if verbose:
        cached = "cached" if answer.cached else "computed"
        took = f"{answer.seconds * 1000:.2f} ms"
        errors.print(f"{cached}; tier {answer.tier}; version {answer.version}; {took}")


def _values(contract: Contract, pairs: dict[str, str]) -> dict[str, Any]:
    """Return the values of NAME=VALUE pairs, by the dtypes of the model's inputs.

    Raises typer.Exit, after printing the problem.
    """
    tensors = {tensor.name: tensor for tensor in contract.signature.fields}
    try:
        for name in pairs:
            if name not in tensors:
                names = ", ".join(tensors)
                raise InvalidInput(f"no such input; the model has: {names}", name)
        return {name: parse_value(tensors[name], text) for name, text in pairs.items()}
    except InvalidInput as error:
        raise usage_error(str(error)) from None
