"""The index of a checkpoint, as TensorFlow writes it."""

from pathlib import Path

import pytest
import tensorflow as tf

from gomlx.models.staging.variables.table import NotReadable, entries

COUNT = 3000  # keys, which take many blocks


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    prefix = str(tmp_path_factory.mktemp("checkpoint") / "variables")
    names = [f"layer/{number:05d}/weights" for number in range(COUNT)]
    tensors = [tf.constant(float(number)) for number in range(COUNT)]
    tf.raw_ops.SaveV2(
        prefix=prefix,
        tensor_names=names,
        shape_and_slices=[""] * COUNT,
        tensors=tensors,
    )
    return Path(f"{prefix}.index").read_bytes()


def test_all_keys_are_found(index: bytes) -> None:
    keys = [key.decode() for key, _ in entries(index)]
    assert keys == ["", *(f"layer/{number:05d}/weights" for number in range(COUNT))]


@pytest.mark.parametrize("place", [0, 1000, 40_000])
def test_a_damaged_block(index: bytes, place: int) -> None:
    damaged = bytearray(index)
    damaged[place] ^= 0x10
    with pytest.raises(NotReadable, match="checksum"):
        list(entries(bytes(damaged)))


@pytest.mark.parametrize("size", [0, 10, 20_000])
def test_a_table_that_is_cut(index: bytes, size: int) -> None:
    with pytest.raises(NotReadable, match="does not end as a table"):
        list(entries(index[:size]))


def test_an_index_that_names_places_outside(index: bytes) -> None:
    """The footer is whole, and what it points to is not there."""
    with pytest.raises(NotReadable):
        list(entries(index[-48:]))
