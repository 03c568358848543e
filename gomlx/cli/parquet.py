"""Parquet files of rows, through pyarrow: it is needed for these only.

A Parquet file cannot be continued once it is cut off: rows with their answers are kept
as an Arrow stream, which can, and turned into Parquet at the end.
"""

import os
from collections.abc import Iterator, Sequence
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from gomlx.cli.asking import outputs
from gomlx.cli.tables import Changed, Chunk, Plan, Position
from gomlx.client.answer import Answer
from gomlx.contract.tensor import Tensor

_GROUP = 1 << 16  # rows of a row group


class ParquetTable:
    """A Table; its positions count rows, and their digest is that of the whole file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with pq.ParquetFile(path) as file:
            self.total: int = file.metadata.num_rows
            self._schema = _decoded(file.schema_arrow)

    def columns(self) -> Sequence[str]:
        names: list[str] = self._schema.names
        return names

    def chunks(self, start: Position, size: int) -> Iterator[Chunk]:
        with self._path.open("rb") as raw:
            digest = file_digest(raw, lambda: blake2b(digest_size=16)).hexdigest()
        if start.rows and start.digest != digest:
            raise Changed(f"{self._path} has changed")
        done = 0
        with pq.ParquetFile(self._path) as file:
            groups, skipped = _groups_from(file.metadata, start.rows)
            done = skipped
            batches = file.iter_batches(size, row_groups=groups) if groups else ()
            for batch in batches:
                rest = batch.slice(max(start.rows - done, 0)).cast(self._schema)
                done += batch.num_rows
                if rest.num_rows:
                    yield Chunk(rest, Position(done, done, digest))

    def inputs(self, rows: Any, plan: Plan) -> dict[str, list[Any]]:
        return {t.name: rows.column(t.name).to_pylist() for t in plan.inputs}

    def header(self, plan: Plan) -> bytes:
        return bytes(self._written(plan).serialize())

    def encoded(self, rows: Any, answers: Sequence[Answer | None], plan: Plan) -> bytes:
        kept = [i for i, answer in enumerate(answers) if answer is not None]
        if not kept:
            return b""
        found = [outputs(a, plan.contract) for a in answers if a is not None]
        written = self._written(plan)
        fields = list(written)[-len(plan.names) :]
        columns = zip(*found, strict=True)
        new = [_array(c, field) for c, field in zip(columns, fields, strict=True)]
        old = rows.take(pa.array(kept)).columns
        batch = pa.RecordBatch.from_arrays([*old, *new], schema=written)
        return bytes(batch.serialize())

    def finish(self, part: Path, output: Path) -> None:
        whole = output.with_name(f"{output.name}.whole")
        with pa.memory_map(str(part)) as source, pa.ipc.open_stream(source) as stream:
            with pq.ParquetWriter(whole, stream.schema) as writer:
                for table in _joined(stream):
                    writer.write_table(table)
        os.replace(whole, output)

    def _written(self, plan: Plan) -> Any:
        if plan.contract.transforms:
            types = [pa.string()]
        else:
            types = [_type(tensor) for tensor in plan.contract.signature.outputs]
        new = [pa.field(n, t) for n, t in zip(plan.names, types, strict=True)]
        return pa.schema([*self._schema, *new], metadata=self._schema.metadata)


def _joined(stream: Any) -> Iterator[Any]:
    """Yield tables as large as a row group should be."""
    batches, rows = [], 0
    for batch in stream:
        batches.append(batch)
        rows += batch.num_rows
        if rows >= _GROUP:
            yield pa.Table.from_batches(batches)
            batches, rows = [], 0
    if batches:
        yield pa.Table.from_batches(batches)


def _groups_from(metadata: Any, row: int) -> tuple[list[int], int]:
    """Return the row groups that hold a row and those behind it; rows before them."""
    first, skipped = 0, 0
    while first < metadata.num_row_groups:
        rows = metadata.row_group(first).num_rows
        if skipped + rows > row:
            break
        first, skipped = first + 1, skipped + rows
    return list(range(first, metadata.num_row_groups)), skipped


def _decoded(schema: Any) -> Any:
    """A dictionary would need messages of its own in the stream: take its values."""
    fields = [
        field.with_type(field.type.value_type)
        if pa.types.is_dictionary(field.type)
        else field
        for field in schema
    ]
    return pa.schema(fields, metadata=schema.metadata)


def _type(tensor: Tensor) -> Any:
    """Return the Arrow type of an output; JSON text where its rank is not known."""
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
    """Words of floats, back as floats."""
    if isinstance(value, list):
        return [_numbers(one) for one in value]
    return float(value) if isinstance(value, str) else value
