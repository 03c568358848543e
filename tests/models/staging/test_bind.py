"""Models whose shapes say in other ways than an open first axis what a row is.

Each is compared with what TensorFlow's own loader answers to the same row alone.
"""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from gomlx.contract.signature import Signature
from gomlx.errors import InvalidInput, StageFailed
from gomlx.models.serving.servable import Servable
from gomlx.models.version import InputSettings, ModelVersion, Settings
from tests.support import saved_models
from tests.support.saved_models import save, spec

Stage = Callable[..., ModelVersion]
Make = Callable[[Path], Path]


def of(function: Callable[..., Any], *specs: Any) -> Make:
    return lambda path: save(path, function, list(specs))


def image(image: Any) -> Any:
    return {
        "boxes": tf.reduce_sum(tf.cast(image, tf.float32), 3)[:, :2, :2],
        "count": tf.cast(tf.shape(image)[1:2], tf.float32),
    }


def mean_of_rows(x: Any) -> Any:
    return {"mean": tf.reduce_mean(x)}


# name → the model, rows, what TensorFlow is fed for each, whether rows may join.
MODELS: dict[str, tuple[Make, list[dict[str, Any]], list[dict[str, Any]], bool]] = {
    "an image with an axis of one": (
        of(image, spec("image", "uint8", (1, None, None, 3))),
        [
            {"image": [[[1, 2, 3], [4, 5, 6]], [[7, 8, 9], [0, 0, 255]]]},
            {"image": [[[9, 9, 9]] * 3] * 4},
        ],
        [
            {"image": [[[[1, 2, 3], [4, 5, 6]], [[7, 8, 9], [0, 0, 255]]]]},
            {"image": [[[[9, 9, 9]] * 3] * 4]},
        ],
        False,
    ),
    "one row": (
        of(lambda x: {"y": x * 2}, spec("x", shape=(1, 2))),
        [{"x": [1, 2]}, {"x": [3, 4]}],
        [{"x": [[1, 2]]}, {"x": [[3, 4]]}],
        False,
    ),
    "eight rows": (
        of(lambda x: {"y": x * 2}, spec("x", shape=(8, 2))),
        [{"x": [i, i + 1]} for i in range(11)],
        [{"x": [[i, i + 1]] * 8} for i in range(11)],
        True,
    ),
    "eight rows that mix": (
        of(lambda x: {"y": x / tf.reduce_max(x, 0)}, spec("x", shape=(8, 2))),
        [{"x": [i, i + 1]} for i in range(1, 4)],
        [{"x": [[i, i + 1]] * 8} for i in range(1, 4)],
        False,
    ),
    "a text": (
        of(lambda text: {"n": tf.strings.length(text)}, spec("text", "string", ())),
        [{"text": "a"}, {"text": "abc"}],
        [{"text": "a"}, {"text": "abc"}],
        False,
    ),
    "a single image": (
        of(
            lambda image: {"sums": tf.reduce_sum(image, [0, 1])},
            spec("image", shape=(None, None, 2)),
        ),
        [{"image": [[[1, 2], [3, 4]]]}, {"image": [[[1, 2]], [[3, 4]], [[5, 6]]]}],
        [{"image": [[[1, 2], [3, 4]]]}, {"image": [[[1, 2]], [[3, 4]], [[5, 6]]]}],
        False,
    ),
    "a number of all rows": (
        of(mean_of_rows, spec("x", shape=(None, 1))),
        [{"x": [[1.0]]}, {"x": [[1.0], [2.0]]}],
        [{"x": [[1.0]]}, {"x": [[1.0], [2.0]]}],
        False,
    ),
    "a threshold": (
        of(
            lambda x, threshold: {"hit": tf.reduce_sum(x, 1) > threshold},
            spec("x", shape=(None, 2)),
            spec("threshold", shape=()),
        ),
        [
            {"x": [1, 2], "threshold": 2.5},
            {"x": [1, 2], "threshold": 3.5},
            {"x": [9, 2], "threshold": 3.5},
        ],
        [
            {"x": [[1, 2]], "threshold": 2.5},
            {"x": [[1, 2]], "threshold": 3.5},
            {"x": [[9, 2]], "threshold": 3.5},
        ],
        True,
    ),
    "a user and items": (
        of(
            lambda user, items: {"score": tf.linalg.matvec(items, user[0])},
            spec("user", shape=(1, 2)),
            spec("items", shape=(None, 2)),
        ),
        [
            {"user": [1, 2], "items": [3, 4]},
            {"user": [1, 2], "items": [5, 6]},
            {"user": [7, 2], "items": [5, 6]},
        ],
        [
            {"user": [[1, 2]], "items": [[3, 4]]},
            {"user": [[1, 2]], "items": [[5, 6]]},
            {"user": [[7, 2]], "items": [[5, 6]]},
        ],
        True,
    ),
    "names of classes": (
        of(
            lambda x: {
                "scores": x / 4,
                "classes": tf.constant(["no", "yes"]),
                "temperature": tf.constant(1.5),
            },
            spec("x", shape=(None, 2)),
        ),
        [{"x": [1, 2]}, {"x": [3, 9]}],
        [{"x": [[1, 2]]}, {"x": [[3, 9]]}],
        True,
    ),
    "a total of the batch": (
        of(
            lambda x: {"y": x * 2, "total": tf.reduce_sum(x)},
            spec("x", shape=(None, 2)),
        ),
        [{"x": [1, 2]}, {"x": [3, 9]}],
        [{"x": [[1, 2]]}, {"x": [[3, 9]]}],
        False,
    ),
}
LISTWISE = ("eight rows that mix", "a total of the batch")
ROWS_OF_THEIRS = {"y", "scores", "score", "hit"}  # outputs with an axis for the batch


def plain(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value.item()


def theirs(source: Path, fed: dict[str, Any], rows_of: set[str]) -> dict[str, Any]:
    """Return TensorFlow's answer, as JSON has it; of outputs with rows, the first."""
    signature = tf.saved_model.load(str(source)).signatures["serving_default"]
    _, specs = signature.structured_input_signature
    arrays = {k: tf.constant(v, specs[k].dtype) for k, v in fed.items()}
    found = {}
    for name, tensor in signature(**arrays).items():
        array = tensor.numpy()
        value = array.tolist() if isinstance(array, np.ndarray) else array
        found[name] = value[0] if name in rows_of else value
    return json.loads(json.dumps(found, default=plain))  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", MODELS)
def test_every_row_is_answered_as_by_tensorflow(
    tmp_path: Path, staged: Stage, name: str
) -> None:
    make, rows, feds, joins = MODELS[name]
    source = make(tmp_path / "m")
    settings = Settings(rows="alone" if name in LISTWISE else "proved")
    servable = Servable(staged(source, settings=settings))
    assert servable.description.joins_rows is joins, servable.description.rows_apart
    has_axis = {"boxes", "count"} if "axis of one" in name else set()
    rows_of = has_axis | ROWS_OF_THEIRS
    expected = [theirs(source, fed, rows_of) for fed in feds]
    checked = [servable.signature.check(row).rows[0] for row in rows]
    alone = [json.loads(servable.run([row])[0]) for row in checked]
    assert alone == expected
    together = [json.loads(answer) for answer in servable.run(checked[::-1] * 2)]
    assert together == expected[::-1] * 2
    assert servable.warm(4)


def signature_of(staged: Stage, source: Path, **settings: Any) -> Signature:
    return Servable(staged(source, settings=Settings(**settings))).signature


@pytest.mark.parametrize("threshold", [0.5, [0.5], [0.5, 0.5]])
def test_a_batch_has_one_value_of_a_shared_input(
    tmp_path: Path, staged: Stage, threshold: Any
) -> None:
    make, *_ = MODELS["a threshold"]
    signature = signature_of(staged, make(tmp_path / "m"))
    body = {"batch_size": 2, "x": [[1, 2], [3, 4]], "threshold": threshold}
    assert [row[0] for row in signature.check(body).rows] == [0.5, 0.5]


@pytest.mark.parametrize("user", [[7, 2], [[7, 2]], [[7, 2], [7, 2]]])
def test_a_batch_has_one_block_of_a_shared_input(
    tmp_path: Path, staged: Stage, user: Any
) -> None:
    make, *_ = MODELS["a user and items"]
    signature = signature_of(staged, make(tmp_path / "m"))
    body = {"batch_size": 2, "items": [[1, 2], [3, 4]], "user": user}
    rows = signature.check(body).rows
    assert rows[0][1] == rows[1][1]
    other = body | {"user": [[7, 2], [8, 2]]}
    first, second = signature.check(other).rows
    assert first[1] != second[1]


def test_a_row_may_leave_out_what_has_a_default(tmp_path: Path, staged: Stage) -> None:
    def scaled(x: Any, k: Any = tf.constant([2.0])) -> Any:  # noqa: B008
        return {"y": x * k}

    specs = [spec("x", shape=[None]), spec("k", shape=[None])]
    source = save(tmp_path / "m", scaled, specs)
    servable = Servable(staged(source))
    signature = servable.signature
    assert servable.run(signature.check({"x": 3.0}).rows) == [b'{"y":6.0}']
    assert servable.run(signature.check({"x": 3.0, "k": 5}).rows) == [b'{"y":15.0}']
    batch = signature.check({"batch_size": 2, "x": [3.0, 4.0]}).rows
    assert servable.run(batch) == [b'{"y":6.0}', b'{"y":8.0}']
    keys = servable.dictionary.keys(servable.dictionary.canonical(batch))
    given = signature.check({"batch_size": 2, "x": [3.0, 4.0], "k": [2.0]}).rows
    assert servable.dictionary.keys(servable.dictionary.canonical(given)) == keys
    with pytest.raises(InvalidInput, match="input 'x': missing"):
        signature.check({"k": 2.0})


def test_an_input_may_have_another_name_in_requests(
    tmp_path: Path, staged: Stage
) -> None:
    source = save(tmp_path / "m", lambda x: {"y": x * 2}, [spec("batch_size")])
    with pytest.raises(StageFailed, match="rename: …"):
        staged(source)
    renamed = Settings((InputSettings("batch_size", rename="size", precision=1),))
    servable = Servable(staged(source, settings=renamed))
    assert servable.signature.names == ("size",)
    rows = servable.signature.check({"batch_size": 2, "size": [1.04, 2.0]}).rows
    assert servable.run(servable.dictionary.canonical(rows)) == [
        b'{"y":2.0}',
        b'{"y":4.0}',
    ]


def test_two_inputs_may_not_be_given_one_name(tmp_path: Path, staged: Stage) -> None:
    make, *_ = MODELS["a threshold"]
    settings = Settings((InputSettings("threshold", rename="x"),))
    with pytest.raises(StageFailed, match="two are named 'x'"):
        staged(make(tmp_path / "m"), settings=settings)


def complex_beside(path: Path) -> Path:
    def f(x: Any) -> Any:
        return {"y": x * 2, "wave": tf.signal.fft(tf.cast(x, tf.complex64))}

    return save(path, f, [spec("x", shape=(None, 2))])


def test_outputs_that_cannot_be_served_may_be_left_out(
    tmp_path: Path, staged: Stage
) -> None:
    source = complex_beside(tmp_path / "m")
    with pytest.raises(StageFailed, match=r"configure `outputs: \[y\]`"):
        staged(source)
    servable = Servable(staged(source, settings=Settings(outputs=("y",))))
    assert servable.run(servable.signature.check({"x": [1, 2]}).rows) == [
        b'{"y":[2.0,4.0]}'
    ]
    with pytest.raises(StageFailed, match=r"the model has no 'z'; it has: wave, y"):
        staged(source, settings=Settings(outputs=("z",)))


def test_an_output_whose_axis_may_vary_is_always_a_list(
    tmp_path: Path, staged: Stage
) -> None:
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None, None], "x")
        y = v1.placeholder_with_default(x * 2, None)
        v1.saved_model.simple_save(session, str(tmp_path / "m"), {"x": x}, {"y": y})
    servable = Servable(staged(tmp_path / "m"))
    rows = [servable.signature.check({"x": x}).rows[0] for x in ([1.0, 2.0], [1.0])]
    assert servable.run(rows) == [b'{"y":[2.0,4.0]}', b'{"y":[2.0]}']


@pytest.mark.parametrize("dtype", ["float32", "int64", "string"])
def test_a_tensor_that_is_fed_and_fetched(
    tmp_path: Path, staged: Stage, dtype: str, caplog: pytest.LogCaptureFixture
) -> None:
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        key = v1.placeholder(tf.as_dtype(dtype), [None, 2], "key")
        x = v1.placeholder(tf.float32, [None], "x")
        inputs = {"key": key, "x": x}
        outputs = {"key": key, "y": x * 2}
        v1.saved_model.simple_save(session, str(tmp_path / "m"), inputs, outputs)
    with caplog.at_level(logging.ERROR):
        servable = Servable(staged(tmp_path / "m"))
    given = {"float32": [1, 2.5], "int64": [1, 2], "string": ["a", "b"]}[dtype]
    rows = servable.signature.check({"key": given, "x": 3.0}).rows
    (answer,) = servable.run(rows)
    assert json.loads(answer) == {"key": given, "y": 6.0}
    assert not caplog.records


@pytest.mark.parametrize("value", [5.0, [1.0, 2.0]])
def test_a_constant_of_unknown_rank_is_the_same_for_all_rows(
    tmp_path: Path, staged: Stage, value: Any
) -> None:
    def f(x: Any) -> Any:
        constant = tf.constant(value)
        shape = tf.raw_ops.PlaceholderWithDefault(input=constant, shape=None)
        return {"c": shape, "y": x * 2.0}

    servable = Servable(staged(save(tmp_path / "m", f, [spec("x")])))
    assert servable.description.joins_rows
    rows = [servable.signature.check({"x": x}).rows[0] for x in (1, 2)]
    answers = [json.loads(answer) for answer in servable.run(rows)]
    assert answers == [{"c": value, "y": 2.0}, {"c": value, "y": 4.0}]


def test_an_echo_of_every_shape_is_served(tmp_path: Path, staged: Stage) -> None:
    for i, shape in enumerate([(), (3,), (1, 3), (2, 3), (None, 3)]):
        source = saved_models.echo(tmp_path / str(i), "float32", shape)
        servable = Servable(staged(source, str(i)))
        row = servable.signature.check(servable.description.example).rows
        assert json.loads(servable.run(row)[0])


def test_a_shared_value_may_be_an_empty_list(tmp_path: Path, staged: Stage) -> None:
    def f(x: Any, k: Any) -> Any:
        return {"y": x + tf.reduce_sum(k)}

    specs = [spec("x", shape=[None]), spec("k", shape=[1, None])]
    servable = Servable(staged(save(tmp_path / "m", f, specs)))
    body = {"batch_size": 2, "x": [1.0, 2.0], "k": []}
    rows = servable.signature.check(body).rows
    assert servable.run(rows) == [b'{"y":1.0}', b'{"y":2.0}']
