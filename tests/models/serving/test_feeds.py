"""Rows as arrays, and arrays as answers."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from gomlx.contract.signature import Signature
from gomlx.contract.tensor import Tensor
from gomlx.errors import RunFailed
from gomlx.models.serving.feeds import Answers, Feeds, by_shape

TEXT = Tensor("text", "string", ())
FIRST = Tensor("first", "float32", (1,))
SECOND = Tensor("second", "float32", (1,))
VECTOR = Tensor("vector", "int64", (2,))
RAGGED = Tensor("ragged", "int64", (None,))
AUXILIARY = Tensor("who", "any", ())


def signature(*inputs: Tensor) -> Signature:
    return Signature(inputs, (Tensor("y", "float32", ()),), (AUXILIARY,))


def test_every_input_has_an_array_of_its_dtype_and_shape() -> None:
    feeds = Feeds(signature(TEXT, FIRST, SECOND, VECTOR))
    rows = [
        ("a", 1.0, 2.0, VECTOR.block((2,), (3, 4)), "auxiliary"),
        ("b", 5.0, 6.0, VECTOR.block((2,), (7, 8)), "auxiliary"),
    ]
    text, first, second, vector = feeds(rows)
    assert text.tolist() == ["a", "b"]
    assert first.tolist() == [[1.0], [5.0]]
    assert second.tolist() == [[2.0], [6.0]]
    assert vector.tolist() == [[3, 4], [7, 8]]
    dtypes = [array.dtype for array in (text, first, second, vector)]
    assert dtypes == [object, np.float32, np.float32, np.int64]


@pytest.mark.parametrize(
    ("dtype", "elements"),
    [
        ("string", ("a", b"\xff", "ä", "")),
        ("bool", (True, False, False, True)),
        ("uint8", (0, 255, 1, 2)),
        ("int64", (-(2**63), 2**63 - 1, 0, 1)),
        ("float16", (0.5, -1.0, 65504.0, 0.0)),
        ("bfloat16", (0.5, -1.0, 3.3895313892515355e38, 0.0)),
        ("float64", (0.1, -1e300, 5e-324, 0.0)),
    ],
)
def test_blocks_of_every_dtype_are_fed(dtype: str, elements: tuple[Any, ...]) -> None:
    tensor = Tensor("x", dtype, (2, 2))
    other = elements[::-1]
    rows = [(tensor.block((2, 2), part), None) for part in (elements, other)]
    (array,) = Feeds(signature(tensor))(rows)
    assert array.dtype == tf.as_dtype(dtype).as_numpy_dtype
    assert array.shape == (2, 2, 2)
    assert array.reshape(-1).tolist() == [*elements, *other]


def test_inputs_of_one_dtype_and_shape_share_memory() -> None:
    first, second = Feeds(signature(FIRST, SECOND))([(1.0, 2.0, None)])
    assert first.base is second.base is not None


@pytest.mark.parametrize(
    ("tensor", "is_ragged"), [(FIRST, False), (VECTOR, False), (RAGGED, True)]
)
def test_only_open_dimensions_are_ragged(tensor: Tensor, is_ragged: bool) -> None:
    assert Feeds(signature(tensor)).is_ragged is is_ragged


def test_rows_of_equal_shapes_are_grouped_in_their_order() -> None:
    short = (RAGGED.block((1,), (1,)),)
    long = (RAGGED.block((2,), (1, 2)),)
    assert list(by_shape([short, long, short])) == [[0, 2], [1]]


def test_every_row_has_an_answer() -> None:
    answers = Answers([Tensor("y", "float32", ()), Tensor("z", "int64", (2,))])
    arrays = [np.array([0.5, 1.5], np.float32), np.array([[1, 2], [3, 4]])]
    assert answers(arrays, 2) == [b'{"y":0.5,"z":[1,2]}', b'{"y":1.5,"z":[3,4]}']


@pytest.mark.parametrize(
    ("array", "shape"), [(np.zeros(3), r"\[3\]"), (np.float64(1.0), r"\[\]")]
)
def test_an_output_without_one_value_a_row_fails(array: object, shape: str) -> None:
    answers = Answers([Tensor("y", "float64", ())])
    with pytest.raises(RunFailed, match=f"output 'y' has shape {shape} for 2 rows"):
        answers([array], 2)


def test_a_transposed_output_is_encoded_row_by_row() -> None:
    array = np.array([[1, 2, 3], [4, 5, 6]]).T
    answers = Answers([Tensor("y", "int64", (2,))])
    assert answers([array], 3) == [b'{"y":[1,4]}', b'{"y":[2,5]}', b'{"y":[3,6]}']
