"""Reads a checkpoint piece by piece: its tensors are as long as they lie in its files.

    variables.index                 key → BundleEntryProto: dtype, shape, where it lies
    variables.data-00000-of-00001   the elements of each tensor, little-endian

TensorFlow reads a tensor as a whole, even to restore a slice of it
(tensorflow/core/util/tensor_bundle). What is more than elements one after the other
(strings, partitions of a tensor) is left to it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.tensor_bundle_pb2 import (
    BundleEntryProto,
    BundleHeaderProto,
)

from gomlx.errors import StageFailed
from gomlx.models.staging.variables.crc32c import crc32c, unmasked
from gomlx.models.staging.variables.restoring import Saved
from gomlx.models.staging.variables.table import NotReadable, entries
from gomlx.models.writing import PIECE_BYTES

_HEADER = b""  # its key


class Checkpoint:
    """The variables of a SavedModel. Raises NotReadable if they must be restored."""

    def __init__(self, saved_model: Path) -> None:
        self._prefix = saved_model / "variables" / "variables"
        try:
            found = dict(entries(Path(f"{self._prefix}.index").read_bytes()))
            header = BundleHeaderProto.FromString(found.pop(_HEADER))
        except (OSError, KeyError) as error:
            raise NotReadable(str(error)) from None
        if header.endianness != BundleHeaderProto.LITTLE:
            raise NotReadable("it is big-endian")
        self._shards = header.num_shards
        self._entries = found

    def plain(self, saved: Saved) -> Any:
        """Return the entry of a tensor whose elements lie one after the other.

        None if it is of another kind.
        """
        if saved.slice or saved.key.encode() not in self._entries:
            return None
        entry = BundleEntryProto.FromString(self._entries[saved.key.encode()])
        kind = tf.as_dtype(entry.dtype)
        is_numeric = kind not in (tf.string, tf.variant, tf.resource)
        is_plain = is_numeric and not entry.slices and entry.size
        return entry if is_plain and entry.dtype == tf.as_dtype(saved.dtype) else None

    def pieces(self, key: str, entry: Any) -> Iterator[bytes]:
        """Yield the elements of a plain tensor. Raises StageFailed if they are damaged.

        That is known at the end: what was yielded must not be used then.
        """
        path = f"{self._prefix}.data-{entry.shard_id:05d}-of-{self._shards:05d}"
        checksum = 0
        remaining = entry.size
        with open(path, "rb", buffering=0) as file:
            file.seek(entry.offset)
            while remaining:
                piece = file.read(min(remaining, PIECE_BYTES))
                if not piece:
                    raise StageFailed(_damaged(key, "its file is too short"))
                checksum = crc32c(piece, checksum)
                remaining -= len(piece)
                yield piece
        if checksum != unmasked(entry.crc32c):
            raise StageFailed(_damaged(key, "its checksum is another one"))

    def value(self, saved: Saved) -> np.ndarray:
        """Return any tensor, as TensorFlow restores it. Raises TensorFlow's errors."""
        (found,) = tf.raw_ops.RestoreV2(
            prefix=str(self._prefix),
            tensor_names=[saved.key],
            shape_and_slices=[saved.slice],
            dtypes=[tf.as_dtype(saved.dtype)],
        )
        return np.asarray(found.numpy())  # a scalar string comes as bytes


def _damaged(key: str, how: str) -> str:
    return (
        f"cannot be loaded: variable {key} of the checkpoint is damaged: {how}. Copy "
        "the model again, or export it again"
    )
