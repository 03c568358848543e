"""The state of a model in files: written once by staging, mapped by every worker.

A variable's file holds its raw little-endian elements and is mapped read-only, so all
processes share its pages. What cannot be mapped (strings, empty and old variables,
the contents of mutable tables) is a serialized TensorProto, read into each process.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from gomlx.models.serving.session import GraphLoader


@dataclass(frozen=True)
class Variable:
    """A variable and its file. kind: "mapped", "parsed" or "reference"."""

    op: str
    file: str
    dtype: str
    shape: tuple[int, ...]
    kind: str


@dataclass(frozen=True)
class Table:
    """A mutable table and the files of its keys and values."""

    op: str
    keys: str
    key_dtype: str
    values: str
    value_dtype: str


@dataclass(frozen=True)
class SavedState:
    """All state of a model. restores: some of it is read from the checkpoint."""

    variables: tuple[Variable, ...]
    tables: tuple[Table, ...]
    restores: bool

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "SavedState":
        variables = (v | {"shape": tuple(v["shape"])} for v in document["variables"])
        return cls(
            tuple(Variable(**variable) for variable in variables),
            tuple(Table(**table) for table in document["tables"]),
            document["restores"],
        )


def load(session: Any, loader: GraphLoader, folder: Path, state: SavedState) -> None:
    """Fill an imported graph with the state that staging wrote."""
    if state.restores:
        loader.restore()
    with session.graph.as_default():
        session.run(
            [_assign(session.graph, folder, variable) for variable in state.variables]
            + [_import(session.graph, folder, table) for table in state.tables]
        )
        loader.run_init_ops()


def _assign(graph: Any, folder: Path, variable: Variable) -> Any:
    """Return the operation that assigns a variable its value."""
    target = graph.get_operation_by_name(variable.op).outputs[0]
    if variable.kind == "mapped":
        value = tf.raw_ops.ImmutableConst(
            dtype=tf.as_dtype(variable.dtype),
            shape=variable.shape,
            memory_region_name=str(folder / variable.file),
        )
    else:
        value = _parsed(folder / variable.file, variable.dtype)
    if variable.kind == "reference":
        return tf.raw_ops.Assign(ref=target, value=value, validate_shape=False)
    return tf.raw_ops.AssignVariableOp(resource=target, value=value)


def _import(graph: Any, folder: Path, table: Table) -> Any:
    return tf.raw_ops.LookupTableImportV2(
        table_handle=graph.get_operation_by_name(table.op).outputs[0],
        keys=_parsed(folder / table.keys, table.key_dtype),
        values=_parsed(folder / table.values, table.value_dtype),
    )


def _parsed(path: Path, dtype: str) -> Any:
    return tf.io.parse_tensor(tf.io.read_file(str(path)), tf.as_dtype(dtype))
