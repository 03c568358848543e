"""Rows as arrays, and arrays as answers."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from gomlx.contract.tensor import Tensor
from gomlx.errors import RunFailed
from gomlx.models.serving.answers import Answers
from gomlx.models.serving.binding import Binding, Bound, Layout
from gomlx.models.serving.feeds import Feeds

TEXT = Tensor("text", "string", ())
FIRST = Tensor("first", "float32", (1,))
SECOND = Tensor("second", "float32", (1,))
VECTOR = Tensor("vector", "int64", (2,))
RAGGED = Tensor("ragged", "int64", (None,))


def bound(*layouts: Layout, rows: int = 0) -> Binding:
    """Bind inputs and outputs that have these layouts, one tensor each."""
    one = tuple(Bound(layout, (f"t{i}:0",)) for i, layout in enumerate(layouts))
    return Binding(one, one, rows)


def feeds_of(*inputs: Tensor) -> Feeds:
    return Feeds(inputs, bound(*[Layout.ROWS] * len(inputs)))


def answers_of(*outputs: Tensor) -> Answers:
    return Answers(outputs, bound(*[Layout.ROWS] * len(outputs)))


def test_every_input_has_an_array_of_its_dtype_and_shape() -> None:
    feeds = feeds_of(TEXT, FIRST, SECOND, VECTOR)
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
    (array,) = feeds_of(tensor)(rows)
    assert array.dtype == tf.as_dtype(dtype).as_numpy_dtype
    assert array.shape == (2, 2, 2)
    assert array.reshape(-1).tolist() == [*elements, *other]


def test_inputs_of_one_dtype_and_shape_share_memory() -> None:
    first, second = feeds_of(FIRST, SECOND)([(1.0, 2.0, None)])
    assert first.base is second.base is not None


@pytest.mark.parametrize(
    ("tensor", "is_ragged"), [(FIRST, False), (VECTOR, False), (RAGGED, True)]
)
def test_only_open_dimensions_are_ragged(tensor: Tensor, is_ragged: bool) -> None:
    assert feeds_of(tensor).is_grouped is is_ragged


def test_rows_of_equal_shapes_are_grouped_in_their_order() -> None:
    short = (RAGGED.block((1,), (1,)),)
    long = (RAGGED.block((2,), (1, 2)),)
    assert list(feeds_of(RAGGED).groups([short, long, short])) == [[0, 2], [1]]


def test_every_row_has_an_answer() -> None:
    answers = answers_of(Tensor("y", "float32", ()), Tensor("z", "int64", (2,)))
    arrays = [np.array([0.5, 1.5], np.float32), np.array([[1, 2], [3, 4]])]
    assert answers(arrays, 2) == [b'{"y":0.5,"z":[1,2]}', b'{"y":1.5,"z":[3,4]}']


@pytest.mark.parametrize(
    ("array", "shape"), [(np.zeros(3), r"\[3\]"), (np.float64(1.0), r"\[\]")]
)
def test_an_output_without_one_value_a_row_fails(array: object, shape: str) -> None:
    answers = answers_of(Tensor("y", "float64", ()))
    with pytest.raises(RunFailed, match=f"output 'y' has shape {shape} for 2 rows"):
        answers([array], 2)


def test_a_transposed_output_is_encoded_row_by_row() -> None:
    array = np.array([[1, 2, 3], [4, 5, 6]]).T
    answers = answers_of(Tensor("y", "int64", (2,)))
    assert answers([array], 3) == [b'{"y":[1,4]}', b'{"y":[2,5]}', b'{"y":[3,6]}']


SHARED = [
    (Layout.ONE, Tensor("s", "float32", ()), 0.5, [0.5]),
    (Layout.WHOLE, Tensor("s", "float32", ()), 0.5, 0.5),
    (Layout.WHOLE, Tensor("s", "float32", (1,)), 0.5, [0.5]),
    (Layout.ONE, Tensor("s", "int64", (2,)), VECTOR.block((2,), (1, 2)), [[1, 2]]),
    (Layout.WHOLE, Tensor("s", "int64", (2,)), VECTOR.block((2,), (1, 2)), [1, 2]),
    (Layout.WHOLE, Tensor("s", "string", ()), "a", "a"),
]


@pytest.mark.parametrize(("layout", "tensor", "value", "fed"), SHARED)
def test_rows_share_a_value(
    layout: Layout, tensor: Tensor, value: object, fed: object
) -> None:
    feeds = Feeds([FIRST, tensor], bound(Layout.ROWS, layout))
    first, shared = feeds([(1.0, value), (2.0, value)])  # type: ignore[list-item]
    assert first.tolist() == [[1.0], [2.0]]
    assert shared.tolist() == fed


@pytest.mark.parametrize(
    ("a", "b"), [(1.0, 2.0), (0.0, -0.0), (1.0, float("nan")), (1, True)]
)
def test_only_equal_shared_values_are_grouped(a: float, b: float) -> None:
    feeds = Feeds([FIRST, FIRST], bound(Layout.ROWS, Layout.WHOLE))
    rows = [(0.0, a), (1.0, b), (2.0, a), (3.0, b)]
    assert list(feeds.groups(rows)) == [[0, 2], [1, 3]]


def test_a_run_of_a_fixed_number_of_rows_is_filled_up() -> None:
    binding = bound(Layout.ROWS, rows=4)
    (fed,) = Feeds([FIRST], binding)([(1.0,), (2.0,)])
    assert fed.tolist() == [[1.0], [2.0], [2.0], [2.0]]
    assert Answers([FIRST], binding)([fed], 2) == [b'{"first":1.0}', b'{"first":2.0}']


def test_what_rows_share_is_in_every_answer() -> None:
    outputs = [
        Tensor("a", "string", (2,)),
        Tensor("b", "float32", ()),
        Tensor("c", "int64", ()),
        Tensor("d", "string", ()),
    ]
    answers = Answers(
        outputs, bound(Layout.WHOLE, Layout.ONE, Layout.ROWS, Layout.WHOLE)
    )
    names = np.array([b"no", b"yes"], object)
    arrays = [names, np.array([1.5], np.float32), np.array([7, 8]), b"t"]
    assert answers(arrays, 2) == [
        b'{"a":["no","yes"],"b":1.5,"c":7,"d":"t"}',
        b'{"a":["no","yes"],"b":1.5,"c":8,"d":"t"}',
    ]
