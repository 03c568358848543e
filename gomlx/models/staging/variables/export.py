"""Writes the state of a graph that is filled to the files that workers map."""

from collections.abc import Container, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from gomlx.models.serving.weights import SavedState, Table, Variable
from gomlx.models.staging.variables.files import StateFiles
from gomlx.models.staging.variables.restoring import FILLED, TABLES

_PART_BYTES = 64 << 20  # of variables that are read in one run
REFERENCES = frozenset({"VariableV2", "Variable"})  # older than resources
# Static tables are filled by the graph's own initialization.
_KNOWN = FILLED | {"HashTableV2", "HashTable", "Placeholder", "Const"}
MAPPED = "fiu"  # kinds of numpy


def export(
    session: Any, files: StateFiles, needed: Container[str], can_map: bool
) -> SavedState:
    """Write the state of a loaded model.

    needed: names of the operations that serving depends on. Others are left out: Keras
    exports every variable twice, and training leaves optimizers behind. can_map: the
    graph never writes to variables.
    """
    operations = [o for o in session.graph.get_operations() if o.name in needed]
    kinds = MAPPED if can_map else ""
    with session.graph.as_default():
        return SavedState(
            tuple(_export_variables(session, operations, kinds, files)),
            tuple(_export_tables(session, operations, files)),
            any(map(is_unknown, operations)),
        )


def _export_variables(
    session: Any, operations: list[Any], mapped_kinds: str, files: StateFiles
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
    return operation.type == "VarHandleOp" or operation.type in REFERENCES


def _kind(operation: Any, value: Any, mapped_kinds: str) -> str:
    if operation.type in REFERENCES:
        return "reference"
    return "mapped" if value.size and value.dtype.kind in mapped_kinds else "parsed"


def _has_value(operation: Any) -> Any:
    (handle,) = operation.outputs
    if operation.type in REFERENCES:
        return tf.raw_ops.IsVariableInitialized(ref=handle)
    return tf.raw_ops.VarIsInitializedOp(resource=handle)


def _value_of(operation: Any) -> Any:
    (handle,) = operation.outputs
    if operation.type in REFERENCES:
        return handle
    dtype = operation.get_attr("dtype")
    return tf.raw_ops.ReadVariableOp(resource=handle, dtype=dtype)


def _export_tables(
    session: Any, operations: list[Any], files: StateFiles
) -> Iterator[Table]:
    for operation in operations:
        if operation.type not in TABLES:
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


def is_unknown(operation: Any) -> bool:
    """True for a resource that no file fills, and no initialization."""
    return (
        not operation.inputs
        and any(output.dtype == tf.resource for output in operation.outputs)
        and operation.type not in _KNOWN
    )
