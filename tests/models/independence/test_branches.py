"""Rows that can decide what other rows get run one at a time."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from gomlx.models.serving.servable import Description
from gomlx.models.version import ModelVersion
from tests.support.saved_models import save, spec

Stage = Callable[..., ModelVersion]
Build = Callable[[Any], Any]


def rare(x: Any) -> Any:
    """True for a value that no trial run would try."""
    return tf.reduce_any(tf.equal(x, 98765.0))


@tf.function  # type: ignore[untyped-decorator]  # TensorFlow has no types
def within_functions(x: Any) -> Any:
    inner = tf.function(lambda x: tf.cond(rare(x), lambda: -x, lambda: x))
    return inner(x + 1.0)


def by_a_loop(x: Any) -> Any:
    return tf.while_loop(rare, lambda y: (y + 1.0,), (x,))[0]


def within_a_loop(x: Any) -> Any:
    def turn(i: Any, y: Any) -> Any:
        return i + 1, tf.cond(rare(y), lambda: -y, lambda: y + 1.0)

    return tf.while_loop(lambda i, _: i < 2, turn, (0, x))[1]


def by_how_many_are_found(x: Any) -> Any:
    """Only a size is compared, but the elements decide that size."""
    found = tf.shape(tf.where(tf.equal(x, 98765.0)))[0]
    return tf.cond(found > 0, lambda: -x, lambda: x)


def by_a_slice(x: Any) -> Any:
    end = tf.cast(rare(x), tf.int32)
    found = tf.size(tf.slice(x, [0, 0], [end, 1]))
    return tf.cond(found > 0, lambda: -x, lambda: x)


DECIDED: dict[str, Build] = {
    "a branch": lambda x: tf.cond(rare(x), lambda: -x, lambda: x),
    "one of several": lambda x: tf.switch_case(
        tf.cast(rare(x), tf.int32), [lambda: x, lambda: -x]
    ),
    "within functions": within_functions,
    "what it chooses is constant": lambda x: (
        x * 0.0 + tf.cond(rare(x), lambda: 1.0, lambda: 2.0)
    ),
    "the end of a loop": by_a_loop,
    "a branch within a loop": within_a_loop,
    "how many are found": by_how_many_are_found,
    "the size of a slice": by_a_slice,
}


def checked(x: Any) -> Any:
    """A choice that can only raise an error, within a function."""

    @tf.function  # type: ignore[untyped-decorator]
    def check(x: Any) -> None:
        tf.debugging.assert_less(x, 98765.0)

    check(x)
    with tf.control_dependencies([tf.debugging.assert_less(x, 98766.0)]):
        return x * 2.0


UNDECIDED: dict[str, Build] = {
    "an error": checked,
    "a loop over the rows": lambda x: tf.map_fn(lambda row: row * 2.0, x),
    "a loop with a count": lambda x: tf.while_loop(
        lambda i, _: i < 3, lambda i, y: (i + 1, y * 2.0), (0, x)
    )[1],
    "element by element": lambda x: tf.where(x > 1.0, x, -x),
}


def joins_rows(version: ModelVersion) -> bool:
    return Description.read(version.directory).joins_rows


@pytest.mark.parametrize("what", DECIDED)
def test_rows_run_alone_if_elements_decide_a_choice(
    tmp_path: Path, staged: Stage, what: str
) -> None:
    source = save(tmp_path / "m", lambda x: {"y": DECIDED[what](x)}, [spec("x")])
    assert not joins_rows(staged(source))


@pytest.mark.parametrize("what", UNDECIDED)
def test_rows_run_together_if_elements_decide_nothing(
    tmp_path: Path, staged: Stage, what: str
) -> None:
    source = save(tmp_path / "m", lambda x: {"y": UNDECIDED[what](x)}, [spec("x")])
    assert joins_rows(staged(source))


def test_rows_run_together_if_a_variable_decides_a_branch(
    tmp_path: Path, staged: Stage
) -> None:
    flag = tf.Variable(True)

    def f(x: Any) -> Any:
        return {"y": tf.cond(flag, lambda: x, lambda: -x)}

    assert joins_rows(staged(save(tmp_path / "m", f, [spec("x")], flag)))


def test_a_choice_of_tensorflow_1(tmp_path: Path, staged: Stage) -> None:
    """Branches depend on it by a data edge, or only by a control edge."""
    v1 = tf.compat.v1
    v1.disable_control_flow_v2()
    try:
        with v1.Graph().as_default(), v1.Session() as session:
            x = v1.placeholder(tf.float32, [None, 1], name="x")
            y = x * 0.0 + v1.cond(
                rare(x), lambda: tf.constant(1.0), lambda: tf.constant(2.0)
            )
            v1.saved_model.simple_save(session, str(tmp_path / "m"), {"x": x}, {"y": y})
    finally:
        v1.enable_control_flow_v2()
    assert not joins_rows(staged(tmp_path / "m"))


def test_the_log_names_the_model_and_what_decides(
    tmp_path: Path, staged: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    source = save(tmp_path / "m", lambda x: {"y": by_a_loop(x)}, [spec("x")])
    staged(source, name="ranker")
    assert "model ranker runs rows one at a time" in caplog.text
    assert "the values of a row end the loop" in caplog.text
