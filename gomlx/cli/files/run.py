"""The run of `gomlx predict` over a file: every row and its answer, to another file.

    table.chunks ─► predictor.predict, several chunks at once ─► output.add, in order

Memory holds the chunks in flight, however large the file is.
"""

from collections import Counter, deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from gomlx.cli.client_options import contract_of
from gomlx.cli.files.formats import open_table
from gomlx.cli.files.resume import OutputConflict, ResumableOutput, RunProgress
from gomlx.cli.files.retry import RetryingPredictor, RetryPolicy
from gomlx.cli.files.tables import Chunk, Columns, InputChanged, Position
from gomlx.cli.terminal import errors, print_error, print_warning, usage_error
from gomlx.client.answer import RowOutcome
from gomlx.client.client import Client
from gomlx.errors import GomlxError

_CHUNK_ROWS = 500
_CHUNKS_IN_FLIGHT = 4


class OnError(StrEnum):
    """What to do about a row that the service refuses."""

    stop = "stop"
    skip = "skip"


@dataclass(frozen=True)
class FileJob:
    """What a run reads and writes.

    constants are values of inputs that are the same in every row. prefix is put before
    the names of the new columns. replaces: start over, whatever earlier runs left.
    """

    source: Path
    output: Path
    constants: dict[str, Any]
    prefix: str = ""
    on_error: OnError = OnError.stop
    replaces: bool = False


class FileRun:
    """One run over a file, with a started client.

    Raises typer.Exit, after printing why, if the job does not fit the file or model.
    """

    def __init__(
        self, client: Client, job: FileJob, policy: RetryPolicy | None = None
    ) -> None:
        self._client = client
        self._job = job
        self._table = open_table(job.source)
        if job.source.suffix.lower() != job.output.suffix.lower():
            raise usage_error(
                f"--output: expected a file of the kind of {job.source.name}"
            )
        contract = contract_of(client)
        fields = contract.signature.fields
        inputs = tuple(tensor for tensor in fields if tensor.name not in job.constants)
        self._columns = Columns(contract, inputs, job.prefix)
        _check_names(job.source, self._table.names(), self._columns)
        self._chunk_rows = min(_CHUNK_ROWS, contract.max_rows)
        self._predictor = RetryingPredictor(
            client, self._request, self._chunk_rows, policy or RetryPolicy.of(client)
        )
        self._tiers = Counter[str]()

    def run(self, verbose: bool = False) -> bool:
        """Answer the rows that no earlier run has; False if a refused row stopped it.

        Raises the error that stopped it; everything before it is kept for the next run.
        """
        output = self._open_output()
        if output.is_complete:
            errors.print(f"{escape(str(output.output))} is complete")
            return True
        if output.progress.position.rows:
            errors.print(f"continuing after row {output.progress.position.rows:,}")
        try:
            is_done = self._write_rest(output)
        except InputChanged as error:
            raise usage_error(f"{error}; --force starts over") from None
        except BaseException as error:
            output.save()
            if isinstance(error, GomlxError):
                self._print_end(output.progress, False, verbose)
            raise
        finally:
            output.close()
        self._print_end(output.progress, is_done, verbose)
        return is_done

    def _open_output(self) -> ResumableOutput:
        job = self._job
        settings = {
            "model": self._columns.contract.model,
            "input": str(job.source.absolute()),
            "values": job.constants,
            "columns": self._columns.new,
        }
        try:
            return ResumableOutput(job.output, settings, job.replaces)
        except OutputConflict as error:
            raise usage_error(str(error)) from None

    def _write_rest(self, output: ResumableOutput) -> bool:
        progress = output.progress
        if not progress.size:
            output.add(self._table.header(self._columns), progress.position)
        is_done = self._write_chunks(output)
        if is_done:
            output.finish(self._table.finish)
        else:
            output.save()
        return is_done

    def _write_chunks(self, output: ResumableOutput) -> bool:
        answered = self._answered_chunks(output.progress.position)
        with progress_bar() as bar, closing(answered):
            task = bar.add_task("", total=self._table.total, rows=0)
            for chunk, outcomes in answered:
                if not self._write(output, chunk, outcomes):
                    return False
                bar.update(task, completed=chunk.end.offset, rows=chunk.end.rows)
        return True

    def _write(
        self, output: ResumableOutput, chunk: Chunk, outcomes: list[RowOutcome]
    ) -> bool:
        """Write a chunk; False, and nothing, if a refused row stops the run."""
        progress = output.progress
        first = chunk.end.rows - len(outcomes) + 1
        for row, outcome in enumerate(outcomes, first):
            if isinstance(outcome, GomlxError):
                print_error(f"{self._job.source}, row {row}: {_reason(outcome)}")
                if self._job.on_error is OnError.stop:
                    return False
                progress.skipped += 1
            else:
                self._tiers[outcome.tier] += 1
                if outcome.version not in progress.versions:
                    progress.versions.append(outcome.version)
        answers = [None if isinstance(o, GomlxError) else o for o in outcomes]
        data = self._table.encode(chunk.rows, answers, self._columns)
        output.add(data, chunk.end)
        return True

    def _answered_chunks(
        self, start: Position
    ) -> Generator[tuple[Chunk, list[RowOutcome]]]:
        """Yield the chunks after a position, in order, with an outcome for each row."""
        chunks = self._table.chunks(start, self._chunk_rows)
        in_flight: deque[tuple[Chunk, Future[list[RowOutcome]]]] = deque()
        pool = ThreadPoolExecutor(_CHUNKS_IN_FLIGHT, "gomlx-predict")
        predict = self._predictor.predict
        try:
            for chunk in islice(chunks, _CHUNKS_IN_FLIGHT):
                in_flight.append((chunk, pool.submit(predict, chunk.rows)))
            while in_flight:
                chunk, future = in_flight.popleft()
                yield chunk, future.result()
                for new in islice(chunks, 1):
                    in_flight.append((new, pool.submit(predict, new.rows)))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            self._predictor.stop()
            self._client.close()  # else a host that does not answer would be waited for

    def _request(self, rows: Any) -> dict[str, Any]:
        """Return the columns of a request for some rows. Raises InvalidInput."""
        constants = self._job.constants
        repeated = {name: [value] * len(rows) for name, value in constants.items()}
        return self._table.inputs(rows, self._columns) | repeated

    def _print_end(self, progress: RunProgress, is_done: bool, verbose: bool) -> None:
        rows = f"{progress.position.rows:,} rows"
        skipped = f", {progress.skipped:,} of them skipped" if progress.skipped else ""
        ending = "" if is_done else "; run it again to continue there"
        errors.print(f"{escape(str(self._job.output))}: {rows}{skipped}{ending}")
        if len(progress.versions) > 1:
            versions = ", ".join(progress.versions)
            print_warning(f"answers are of more than one version: {versions}")
        if verbose:
            tiers = [f"{tier} {rows:,}" for tier, rows in self._tiers.most_common()]
            errors.print(f"from {', '.join(tiers)}; version {progress.versions}")


def _check_names(source: Path, names: Sequence[str] | None, columns: Columns) -> None:
    """Check the names of a file's columns, if they are the same for all rows."""
    if names is None:
        return
    wanted = [tensor.name for tensor in columns.inputs]
    if missing := ", ".join(name for name in wanted if name not in names):
        raise usage_error(f"{source}: no column for: {missing}; or give NAME=VALUE")
    if present := ", ".join(name for name in columns.new if name in names):
        raise usage_error(f"{source} has a column already: {present}; see --prefix")
    if twice := ", ".join(n for n, count in Counter(names).items() if count > 1):
        raise usage_error(f"{source}: columns of one name: {twice}")


def progress_bar() -> Progress:
    """Return a bar for tasks with a field `rows`; shown in terminals only."""
    return Progress(
        TextColumn("{task.fields[rows]:,} rows"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=errors,
        disable=not errors.is_terminal,
        transient=True,
    )


def _reason(error: GomlxError) -> str:
    """Return the message of a row that was predicted alone, without its row number."""
    return str(error).replace(", row 0: ", ": ").removeprefix("row 0: ")
