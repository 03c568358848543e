"""Writes the state of a graph from its checkpoint to the files that workers map.

The graph is not restored for it: a model of 400 MB would be in memory twice, and be
read at once, which delays whoever shares the machine.
"""

from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from gomlx.models.serving.weights import SavedState, Table, Variable
from gomlx.models.staging.variables.checkpoint import Checkpoint
from gomlx.models.staging.variables.export import MAPPED, REFERENCES, is_unknown
from gomlx.models.staging.variables.files import KnownFiles, StateFiles
from gomlx.models.staging.variables.restoring import FILLED, Restored, Saved, restored
from gomlx.models.staging.variables.table import NotReadable


def opened(
    saved_model: Path, meta_graph: Any, graph: Any, needed: Container[str]
) -> "Direct | None":
    """Return what writes the state of a graph; None if it has to be restored.

    graph: as TensorFlow has imported it; needed: names of the operations that serving
    depends on.
    """
    operations = [o for o in graph.get_operations() if o.name in needed]
    found = restored(meta_graph)
    if not all(_is_told(operation, found) for operation in operations):
        return None
    try:
        return Direct(Checkpoint(saved_model), found, operations)
    except NotReadable:
        return None


def _is_told(operation: Any, found: Restored) -> bool:
    """Whether it is known what fills an operation: the checkpoint, or initialization.

    Two operations may be handles of one variable, and only one of them be restored.
    """
    if operation.type in REFERENCES or is_unknown(operation):
        return False
    name = operation.name
    if operation.type not in FILLED or name in found.tables:
        return True
    if saved := found.variables.get(name):
        return bool(saved.dtype == operation.get_attr("dtype").name)
    return name in found.initialized and name not in found.reached


class Direct:
    """The state that restoring would fill, in its checkpoint."""

    def __init__(
        self, checkpoint: Checkpoint, found: Restored, operations: Sequence[Any]
    ) -> None:
        names = {operation.name for operation in operations}
        self._checkpoint = checkpoint
        self._variables = {n: one for n, one in found.variables.items() if n in names}
        self._tables = {n: one for n, one in found.tables.items() if n in names}

    @property
    def names(self) -> set[str]:
        """The operations whose state is here."""
        return {*self._variables, *self._tables}

    def export(self, files: StateFiles, known: KnownFiles) -> SavedState:
        """Write the state. Raises StageFailed if the checkpoint is damaged."""
        variables = [
            self._variable(name, saved, files, known)
            for name, saved in self._variables.items()
        ]
        tables = []
        for name, table in self._tables.items():
            keys = files.write(self._checkpoint.value(table.keys), "", table.keys.dtype)
            values = self._checkpoint.value(table.values)
            file = files.write(values, "", table.values.dtype)
            tables.append(Table(name, keys, table.keys.dtype, file, table.values.dtype))
        return SavedState(tuple(variables), tuple(tables), restores=False)

    def _variable(
        self, name: str, saved: Saved, files: StateFiles, known: KnownFiles
    ) -> Variable:
        entry = self._checkpoint.plain(saved)
        if entry is None or not _is_mapped(saved.dtype):
            value = self._checkpoint.value(saved)
            is_mapped = value.size and value.dtype.kind in MAPPED
            kind = "mapped" if is_mapped else "parsed"
            file = files.write(value, kind, saved.dtype)
            return Variable(name, file, saved.dtype, value.shape, kind)
        shape = tuple(one.size for one in entry.shape.dim)
        variable = Variable(name, "", saved.dtype, shape, "mapped")
        same = known.of(variable, entry.size)
        file = files.stream(self._checkpoint.pieces(saved.key, entry), same)
        return Variable(name, file, saved.dtype, shape, "mapped")


def _is_mapped(dtype: str) -> bool:
    return np.dtype(tf.as_dtype(dtype).as_numpy_dtype).kind in MAPPED
