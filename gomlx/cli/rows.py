"""All rows of a file, to a file: read, asked in chunks, written in order.

    table.chunks ─► patient.ask, some chunks at once ─► journal.add, in order

Memory holds the chunks that are under way, however large the file is.
"""

from collections import Counter, deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from gomlx.cli.asking import known
from gomlx.cli.journal import Journal, NotOurs
from gomlx.cli.patience import Outcome, Patient
from gomlx.cli.tables import Changed, Chunk, CsvTable, JsonLinesTable, Plan, Table
from gomlx.cli.terminal import errors, tell, wrong
from gomlx.client.client import Client
from gomlx.errors import GomlxError

_CHUNK = 500  # rows that are asked for together,
_AT_ONCE = 4  # and how many times that


class OnError(StrEnum):
    """What to do about a row that is refused."""

    stop = "stop"
    skip = "skip"


class Rows:
    """One run over a file."""

    def __init__(
        self,
        client: Client,
        source: Path,
        output: Path,
        fixed: dict[str, Any],
        prefix: str,
    ) -> None:
        self._client, self._source, self._output = client, source, output
        self._fixed, self._tiers = fixed, Counter[str]()
        self._table = table_of(source)
        if source.suffix.lower() != output.suffix.lower():
            raise wrong(f"--output: expected a file of the kind of {source.name}")
        contract = known(client)
        fields = contract.signature.fields
        inputs = tuple(tensor for tensor in fields if tensor.name not in fixed)
        self._plan = Plan(contract, inputs, prefix)
        self._check_columns()
        self._size = min(_CHUNK, contract.max_rows)
        self._patient = Patient(client, self._asked, self._size)

    def run(self, on_error: OnError, force: bool, verbose: bool) -> bool:
        """Answer all rows that an earlier run has not; False when a row is refused."""
        settings = {
            "model": known(self._client).model,
            "input": str(self._source.absolute()),
            "values": self._fixed,
            "columns": self._plan.names,
        }
        try:
            self._journal = journal = Journal(self._output, settings, force)
        except NotOurs as error:
            raise wrong(str(error)) from None
        if journal.is_complete:
            errors.print(f"{escape(str(self._output))} is complete")
            return True
        if journal.state.position.rows:
            errors.print(f"going on after row {journal.state.position.rows:,}")
        try:
            done = self._write_all(on_error)
            if done:
                journal.finish(self._table.finish)
            else:
                journal.save()
        except Changed as error:
            raise wrong(f"{error}; --force begins anew") from None
        except BaseException as error:
            journal.save()
            if isinstance(error, GomlxError):
                self._tell_end(False, verbose)
            raise
        finally:
            journal.close()
        self._tell_end(done, verbose)
        return done

    def _write_all(self, on_error: OnError) -> bool:
        journal, columns = self._journal, (TextColumn("{task.fields[rows]:,} rows"),)
        if not journal.state.size:
            journal.add(self._table.header(self._plan), journal.state.position)
        bars = Progress(
            *columns,
            *(BarColumn(), TaskProgressColumn(), TimeRemainingColumn()),
            console=errors,
            disable=not errors.is_terminal,
            transient=True,
        )
        with bars as progress, closing(self._answered()) as answered:
            bar = progress.add_task("", total=self._table.total, rows=0)
            for chunk, outcomes in answered:
                if not self._add(chunk, outcomes, on_error):
                    return False
                self._show(progress, bar, chunk)
        return True

    def _add(self, chunk: Chunk, outcomes: list[Outcome], on_error: OnError) -> bool:
        """Write a chunk, unless there is something to stop for."""
        state = self._journal.state
        first = chunk.end.rows - len(outcomes) + 1
        for row, outcome in enumerate(outcomes, first):
            if isinstance(outcome, GomlxError):
                tell(f"{self._source}, row {row}: {_reason(outcome)}")
                if on_error is OnError.stop:
                    return False
                state.skipped += 1
            else:
                self._tiers[outcome.tier] += 1
                if outcome.version not in state.versions:
                    state.versions.append(outcome.version)
        answers = [None if isinstance(o, GomlxError) else o for o in outcomes]
        data = self._table.encoded(chunk.rows, answers, self._plan)
        self._journal.add(data, chunk.end)
        return True

    def _answered(self) -> Generator[tuple[Chunk, list[Outcome]]]:
        """Yield the chunks that are left, in order, with a row's answer or error."""
        chunks = self._table.chunks(self._journal.state.position, self._size)
        waiting: deque[tuple[Chunk, Future[list[Outcome]]]] = deque()
        pool = ThreadPoolExecutor(_AT_ONCE, "gomlx-predict")
        try:
            for chunk in islice(chunks, _AT_ONCE):
                waiting.append((chunk, pool.submit(self._patient.ask, chunk.rows)))
            while waiting:
                chunk, future = waiting.popleft()
                yield chunk, future.result()
                for new in islice(chunks, 1):
                    waiting.append((new, pool.submit(self._patient.ask, new.rows)))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            self._patient.stop()
            self._client.close()  # a host that is silent is not waited for

    def _asked(self, rows: Any) -> dict[str, Any]:
        """Return what a request for some rows has to say. Raises InvalidInput."""
        fixed = {name: [value] * len(rows) for name, value in self._fixed.items()}
        return self._table.inputs(rows, self._plan) | fixed

    def _check_columns(self) -> None:
        names = self._table.columns()
        if names is None:
            return
        wanted = [tensor.name for tensor in self._plan.inputs]
        if missing := [name for name in wanted if name not in names]:
            told = ", ".join(missing)
            raise wrong(f"{self._source}: no column for: {told}; or give NAME=VALUE")
        if both := [name for name in self._plan.names if name in names]:
            told = ", ".join(both)
            raise wrong(f"{self._source} has a column already: {told}; see --prefix")
        if twice := [n for n, count in Counter(names).items() if count > 1]:
            raise wrong(f"{self._source}: columns of one name: {', '.join(twice)}")

    def _show(self, progress: Progress, bar: TaskID, chunk: Chunk) -> None:
        progress.update(bar, completed=chunk.end.offset, rows=chunk.end.rows)

    def _tell_end(self, done: bool, verbose: bool) -> None:
        state = self._journal.state
        rows = f"{state.position.rows:,} rows"
        skipped = f", {state.skipped:,} of them skipped" if state.skipped else ""
        ending = "" if done else "; run it again to go on there"
        errors.print(f"{escape(str(self._output))}: {rows}{skipped}{ending}")
        if len(state.versions) > 1:
            versions = ", ".join(state.versions)
            errors.print(f"[yellow]warning:[/] of more than one version: {versions}")
        if verbose:
            tiers = [f"{tier} {rows:,}" for tier, rows in self._tiers.most_common()]
            errors.print(f"from {', '.join(tiers)}; version {state.versions}")


def table_of(path: Path) -> Table:
    """Return a file's table, by the ending of its name. Raises what `open` does."""
    kind = path.suffix.lower()
    if kind in (".csv", ".tsv"):
        return CsvTable(path, "," if kind == ".csv" else "\t")
    if kind in (".jsonl", ".ndjson"):
        return JsonLinesTable(path)
    if kind != ".parquet":
        kinds = ".csv, .tsv, .jsonl, .ndjson or .parquet"
        raise wrong(f"{path}: expected a name that ends in {kinds}")
    try:
        from gomlx.cli.parquet import ParquetTable
    except ModuleNotFoundError as error:
        raise GomlxError(
            f"{path}: {error}; it needs: pip install 'gomlx[parquet]'"
        ) from None
    return ParquetTable(path)


def _reason(error: GomlxError) -> str:
    """Return what is wrong with a row that was asked alone."""
    return str(error).replace(", row 0: ", ": ").removeprefix("row 0: ")
