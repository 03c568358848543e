"""The state of a model in files: written once by staging, mapped by every worker.

A variable's file holds its raw little-endian elements and is mapped read-only, so all
processes share its pages. What cannot be mapped (strings, empty and old variables,
the contents of mutable tables) is a serialized TensorProto, read into each process.
"""

from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from gomlx.models.serving.session import GraphLoader

_TABLES = frozenset(
    {
        "MutableHashTableV2",
        "MutableHashTable",
        "MutableDenseHashTableV2",
        "MutableHashTableOfTensorsV2",
    }
)
_PART_BYTES = 64 << 20  # of variables that are read in one run
_REFERENCES = frozenset({"VariableV2", "Variable"})  # older than resources
# Static tables are filled by the graph's own initialization.
_KNOWN = _TABLES | {"VarHandleOp", "HashTableV2", "HashTable", "Placeholder", "Const"}


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


def export(
    session: Any, folder: Path, needed: Container[str], can_map: bool
) -> SavedState:
    """Write the state of an ordinarily loaded model into an empty folder.

    needed: names of the operations that serving depends on. Others are left out: Keras
    exports every variable twice, and training leaves optimizers behind. can_map: the
    graph never writes to variables.
    """
    operations = [o for o in session.graph.get_operations() if o.name in needed]
    files = _Files(folder)
    kinds = "fiu" if can_map else ""
    with session.graph.as_default():
        return SavedState(
            tuple(_export_variables(session, operations, kinds, files)),
            tuple(_export_tables(session, operations, files)),
            any(map(_is_unknown, operations)),
        )


def load(session: Any, loader: GraphLoader, folder: Path, state: SavedState) -> None:
    """Fill an imported graph with the state that `export` wrote."""
    if state.restores:
        loader.restore()
    with session.graph.as_default():
        session.run(
            [_assign(session.graph, folder, variable) for variable in state.variables]
            + [_import(session.graph, folder, table) for table in state.tables]
        )
        loader.run_init_ops()


class _Files:
    """Writes one file per value into a folder; their names are 1, 2, 3, …"""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0

    def write(self, value: Any, kind: str, dtype: str) -> str:
        """Return the name of a new file that holds a value of one of the kinds."""
        self._count += 1
        path = self._folder / str(self._count)
        if kind == "mapped":
            value.tofile(path)
        else:
            proto = tf.make_tensor_proto(value, tf.as_dtype(dtype), value.shape)
            path.write_bytes(proto.SerializeToString())
        return path.name


def _export_variables(
    session: Any, operations: list[Any], mapped_kinds: str, files: _Files
) -> Iterator[Variable]:
    for operation, read in _values(session, operations):
        value = np.asarray(read)  # a scalar string comes as bytes
        kind = _kind(operation, value, mapped_kinds)
        dtype = operation.get_attr("dtype").name
        file = files.write(value, kind, dtype)
        yield Variable(operation.name, file, dtype, value.shape, kind)


def _values(session: Any, operations: list[Any]) -> Iterator[tuple[Any, Any]]:
    """Yield each variable that has a value, and the value.

    One without is in the graph, but not in the checkpoint: it serves nothing.

    Reads run together, some megabytes at a time: each run of something new prunes and
    optimizes the whole graph, and one run for each of MobileNetV2's 260 variables takes
    over a minute.
    """
    variables = list(filter(_is_variable, operations))
    reads = [(one, _value_of(one)) for one in variables]
    has_value = session.run(list(map(_has_value, variables))) if variables else []
    known = [read for read, is_known in zip(reads, has_value, strict=True) if is_known]
    for some in _parts(known):
        values = session.run([tensor for _, tensor in some])
        yield from zip([one for one, _ in some], values, strict=True)


def _parts(reads: list[tuple[Any, Any]]) -> Iterator[list[tuple[Any, Any]]]:
    """Cut reads into lists whose values have up to _PART_BYTES, or one value."""
    part: list[tuple[Any, Any]] = []
    size = 0
    for operation, tensor in reads:
        elements = tensor.shape.num_elements()
        width = max(operation.get_attr("dtype").size or 0, 1)
        more = _PART_BYTES if elements is None else elements * width
        if part and size + more > _PART_BYTES:
            yield part
            part = []
            size = 0
        part.append((operation, tensor))
        size += more
    if part:
        yield part


def _is_variable(operation: Any) -> bool:
    return operation.type == "VarHandleOp" or operation.type in _REFERENCES


def _kind(operation: Any, value: Any, mapped_kinds: str) -> str:
    if operation.type in _REFERENCES:
        return "reference"
    return "mapped" if value.size and value.dtype.kind in mapped_kinds else "parsed"


def _has_value(operation: Any) -> Any:
    (handle,) = operation.outputs
    if operation.type in _REFERENCES:
        return tf.raw_ops.IsVariableInitialized(ref=handle)
    return tf.raw_ops.VarIsInitializedOp(resource=handle)


def _value_of(operation: Any) -> Any:
    (handle,) = operation.outputs
    if operation.type in _REFERENCES:
        return handle
    dtype = operation.get_attr("dtype")
    return tf.raw_ops.ReadVariableOp(resource=handle, dtype=dtype)


def _export_tables(
    session: Any, operations: list[Any], files: _Files
) -> Iterator[Table]:
    for operation in operations:
        if operation.type not in _TABLES:
            continue
        keys = operation.get_attr("key_dtype")
        values = operation.get_attr("value_dtype")
        exported = tf.raw_ops.LookupTableExportV2(
            table_handle=operation.outputs[0], Tkeys=keys, Tvalues=values
        )
        key_array, value_array = session.run(exported)
        yield Table(
            operation.name,
            files.write(key_array, "parsed", keys.name),
            keys.name,
            files.write(value_array, "parsed", values.name),
            values.name,
        )


def _is_unknown(operation: Any) -> bool:
    """True for a resource that no file fills, and no initialization."""
    return (
        not operation.inputs
        and any(output.dtype == tf.resource for output in operation.outputs)
        and operation.type not in _KNOWN
    )


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
