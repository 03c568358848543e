"""Tables in Parquet files, through pyarrow, which only they need.

A Parquet file cannot be continued once it is cut off. So rows with their answers are
kept as an Arrow stream, which can, and are turned into Parquet at the end.
"""

import os
from collections.abc import Iterator, Sequence
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from gomlx.cli.files.tables import Chunk, Columns, InputChanged, Position
from gomlx.cli.values import answer_values
from gomlx.client.answer import Answer
from gomlx.contract.tensor import Tensor

_GROUP_ROWS = 1 << 16


class ParquetTable:
    """A RowTable. Positions count rows; their digest is that of the whole file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with pq.ParquetFile(path) as file:
            self.total: int = file.metadata.num_rows
            self._schema = _without_dictionaries(file.schema_arrow)

    def names(self) -> Sequence[str]:
        names: list[str] = self._schema.names
        return names

    def chunks(self, start: Position, size: int) -> Iterator[Chunk]:
        with self._path.open("rb") as raw:
            digest = file_digest(raw, lambda: blake2b(digest_size=16)).hexdigest()
        if start.rows and start.digest != digest:
            raise InputChanged(f"{self._path} has changed")
        with pq.ParquetFile(self._path) as file:
            rest = _groups_from(file.metadata, start.rows)
            done = rest.rows_before
            groups = rest.groups
            batches = file.iter_batches(size, row_groups=groups) if groups else ()
            for batch in batches:
                unread = batch.slice(max(start.rows - done, 0)).cast(self._schema)
                done += batch.num_rows
                if unread.num_rows:
                    yield Chunk(unread, Position(done, done, digest))

    def inputs(self, rows: Any, columns: Columns) -> dict[str, list[Any]]:
        return {t.name: rows.column(t.name).to_pylist() for t in columns.inputs}

    def header(self, columns: Columns) -> bytes:
        return bytes(self._output_schema(columns).serialize())

    def encode(
        self, rows: Any, answers: Sequence[Answer | None], columns: Columns
    ) -> bytes:
        kept = [i for i, answer in enumerate(answers) if answer is not None]
        if not kept:
            return b""
        values = [answer_values(a, columns.contract) for a in answers if a is not None]
        schema = self._output_schema(columns)
        fields = list(schema)[-len(columns.new) :]
        added = [
            _array(column, field)
            for column, field in zip(zip(*values, strict=True), fields, strict=True)
        ]
        old = rows.take(pa.array(kept)).columns
        batch = pa.RecordBatch.from_arrays([*old, *added], schema=schema)
        return bytes(batch.serialize())

    def finish(self, part: Path, output: Path) -> None:
        whole = output.with_name(f"{output.name}.whole")
        with pa.memory_map(str(part)) as source, pa.ipc.open_stream(source) as stream:
            with pq.ParquetWriter(whole, stream.schema) as writer:
                for table in _row_groups(stream):
                    writer.write_table(table)
        os.replace(whole, output)

    def _output_schema(self, columns: Columns) -> Any:
        if columns.contract.transforms:
            types = [pa.string()]
        else:
            types = [_arrow_type(one) for one in columns.contract.signature.answered]
        added = [pa.field(n, t) for n, t in zip(columns.new, types, strict=True)]
        return pa.schema([*self._schema, *added], metadata=self._schema.metadata)


def _row_groups(stream: Any) -> Iterator[Any]:
    """Join the batches of a stream into tables of the size of a row group."""
    batches = []
    rows = 0
    for batch in stream:
        batches.append(batch)
        rows += batch.num_rows
        if rows >= _GROUP_ROWS:
            yield pa.Table.from_batches(batches)
            batches = []
            rows = 0
    if batches:
        yield pa.Table.from_batches(batches)


class _RowGroups(NamedTuple):
    """The numbers of row groups, and the number of rows in those before them."""

    groups: list[int]
    rows_before: int


def _groups_from(metadata: Any, row: int) -> _RowGroups:
    """Return the row groups from the one that holds a row."""
    first = 0
    before = 0
    while first < metadata.num_row_groups:
        rows = metadata.row_group(first).num_rows
        if before + rows > row:
            break
        first += 1
        before += rows
    return _RowGroups(list(range(first, metadata.num_row_groups)), before)


def _without_dictionaries(schema: Any) -> Any:
    """Return a schema with plain values in the place of dictionary-encoded ones, which
    would need messages of their own in the stream."""
    fields = [
        field.with_type(field.type.value_type)
        if pa.types.is_dictionary(field.type)
        else field
        for field in schema
    ]
    return pa.schema(fields, metadata=schema.metadata)


def _arrow_type(tensor: Tensor) -> Any:
    """Return the Arrow type of an output; JSON text if its rank is unknown."""
    if tensor.shape is None or tensor.dtype == "string":
        return pa.string()
    dtype = "float32" if tensor.dtype == "bfloat16" else tensor.dtype
    found = pa.type_for_alias(dtype)
    for _ in () if tensor.is_scalar else tensor.shape:
        found = pa.list_(found)
    return found


def _array(column: Sequence[Any], field: Any) -> Any:
    if field.type == pa.string():
        return pa.array(map(_text, column), pa.string())
    return pa.array(map(_numbers, column), field.type)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _numbers(value: Any) -> Any:
    """Return floats in the place of the strings "NaN", "Infinity" and "-Infinity"."""
    if isinstance(value, list):
        return [_numbers(one) for one in value]
    return float(value) if isinstance(value, str) else value
