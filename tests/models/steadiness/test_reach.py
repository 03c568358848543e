"""What a run reaches: nothing above a feed, nothing behind a constant branch."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from gomlx.models.serving.servable import Servable
from gomlx.models.version import ModelVersion
from tests.models.steadiness.graphs import given, newer, older, unsteady, v1
from tests.support.saved_models import save, spec

Stage = Callable[..., ModelVersion]
Pair = tuple[Any, Any]


def noisy(x: Any) -> Any:
    return x + tf.random.uniform(tf.shape(x))


def phase(x: Any, is_training: Any) -> Any:
    return tf.cond(is_training, lambda: noisy(x), lambda: x * 2.0)


def iterator() -> Pair:
    data = tf.data.Dataset.from_tensor_slices(np.ones((8, 1), "float32")).batch(2)
    x = v1.data.make_one_shot_iterator(data).get_next()
    return x, x * 2.0


def queue() -> Pair:
    rows = v1.FIFOQueue(10, [tf.float32], [[1]])
    x = v1.placeholder_with_default(rows.dequeue_many(2), [None, 1], "x")
    return x, x * 2.0


def above() -> Pair:
    """What is fed is random otherwise."""
    x = v1.placeholder_with_default(tf.random.uniform([2, 1]), [None, 1], "x")
    return x, x * 2.0


def default_phase() -> Pair:
    x = given()
    return x, phase(x, v1.placeholder_with_default(False, [], "training"))


def not_training() -> Pair:
    x = given()
    serving = v1.placeholder_with_default(True, [], "serving")
    return x, phase(x, tf.logical_not(serving))


def in_a_loop() -> Pair:
    x = given()
    training = v1.placeholder_with_default(False, [], "training")
    body = lambda i, y: (i + 1, phase(y, training))  # noqa: E731  # one a line
    return x, tf.while_loop(lambda i, _: i < 2, body, (0, x))[1]


def no_turn() -> Pair:
    x = given()
    return x, tf.while_loop(lambda y: tf.constant(False), lambda y: [noisy(y)], [x])[0]


def number_of_branch() -> Pair:
    x = given()
    cases = [lambda: x * 2.0, lambda: noisy(x)]
    return x, tf.switch_case(v1.placeholder_with_default(0, [], "case"), cases)


STEADY: dict[str, Callable[[], Pair]] = {
    "an iterator that is fed": iterator,
    "a queue that is fed": queue,
    "random numbers that are fed": above,
    "a training flag": default_phase,
    "a flag the other way round": not_training,
    "in a loop": in_a_loop,
    "a loop of no turn": no_turn,
    "the number of a branch": number_of_branch,
}


@pytest.mark.parametrize("old_flow", [True, False])
@pytest.mark.parametrize("what", STEADY)
def test_what_a_run_does_not_reach_does_not_count(
    tmp_path: Path, staged: Stage, what: str, old_flow: bool
) -> None:
    servable = Servable(staged(older(tmp_path / "m", STEADY[what], old_flow)))
    assert servable.description.unsteady == ()
    found = {servable.run([(3.0,)])[0] for _ in range(9)}
    assert {json.loads(one)["y"] for one in found} <= {3.0, 6.0, 12.0}
    assert len(found) == 1


def true_phase() -> Pair:
    x = given()
    return x, phase(x, v1.placeholder_with_default(True, [], "training"))


def phase_of_values() -> Pair:
    x = given()
    return x, phase(x, tf.reduce_sum(x) > 1.0)


def phase_in_a_variable() -> Pair:
    """It may be loaded with either."""
    x = given()
    return x, phase(x, v1.get_variable("training", initializer=False))


def not_fed() -> Pair:
    """The iterator is read, and a number is fed."""
    data = tf.data.Dataset.from_tensor_slices(np.ones((8, 1), "float32")).batch(2)
    x = given()
    return x, x + v1.data.make_one_shot_iterator(data).get_next()


def waited_for() -> Pair:
    """The fed tensor's node runs, for something waits for it."""
    x = v1.placeholder_with_default(tf.random.uniform([2, 1]), [None, 1], "x")
    with tf.control_dependencies([x.op]):
        return x, tf.identity(x) * 2.0


def last_turn() -> Pair:
    """The flag is false at first, and true when the loop has turned."""
    x = given()
    start = v1.placeholder_with_default(False, [], "training")
    body = lambda i, y, on: (i + 1, phase(y, on), tf.logical_not(on))  # noqa: E731
    return x, tf.while_loop(lambda i, *_: i < 2, body, (0, x, start))[1]


UNSTEADY: dict[str, Callable[[], Pair]] = {
    "training": true_phase,
    "a flag of the values": phase_of_values,
    "a flag in a variable": phase_in_a_variable,
    "an iterator that is read": not_fed,
    "a fed node that runs": waited_for,
    "a flag that changes in a loop": last_turn,
}


@pytest.mark.parametrize("old_flow", [True, False])
@pytest.mark.parametrize("what", UNSTEADY)
def test_what_a_run_may_reach_counts(tmp_path: Path, what: str, old_flow: bool) -> None:
    assert unsteady(older(tmp_path / "m", UNSTEADY[what], old_flow))


def test_a_flag_that_is_an_input_is_not_constant(tmp_path: Path) -> None:
    path = save(
        tmp_path / "m",
        lambda x, on: {"y": phase(x, tf.reduce_all(on))},
        [spec("x"), spec("on", "bool")],
    )
    assert unsteady(path) == {"RandomUniform"}


def test_a_branch_of_a_function_that_gets_a_constant(tmp_path: Path) -> None:
    called = tf.function(phase)
    assert not unsteady(newer(tmp_path / "a", lambda x: called(x, tf.constant(False))))
    assert unsteady(newer(tmp_path / "b", lambda x: called(x, tf.constant(True))))


def test_a_condition_with_an_axis_is_true_if_it_has_elements(tmp_path: Path) -> None:
    """`If` looks at the elements of a scalar only."""

    def build(x: Any) -> Any:
        noise = tf.function(noisy).get_concrete_function(spec("x"))
        plain = tf.function(lambda x: x * 2.0).get_concrete_function(spec("x"))
        return tf.raw_ops.If(
            cond=tf.constant([False]),
            input=[x],
            Tout=[tf.float32],
            then_branch=noise,
            else_branch=plain,
        )[0]

    assert unsteady(newer(tmp_path / "m", build)) == {"RandomUniform"}


def older_dropout(x: Any, keep: Any) -> Any:
    """Return what TensorFlow before 1.13 makes of dropout."""
    noise = keep + v1.random_uniform(tf.shape(x), dtype=x.dtype)
    return x / keep * tf.floor(noise)


def newer_dropout(x: Any, keep: Any) -> Any:
    return v1.nn.dropout(x, rate=1 - keep)


DROPOUTS = [older_dropout, newer_dropout]


@pytest.mark.parametrize("dropout", DROPOUTS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_dropout_that_keeps_all_is_steady(
    tmp_path: Path, staged: Stage, dropout: Any, dtype: str
) -> None:
    def build() -> Pair:
        x = v1.placeholder(dtype, [None, 1], "x")
        one = tf.constant(1.0, dtype)
        keep = v1.placeholder_with_default(one, [], "keep")
        return x, dropout(x, keep)

    servable = Servable(staged(older(tmp_path / "m", build, False)))
    assert servable.description.unsteady == ()
    assert {servable.run([(3.0,)])[0] for _ in range(200)} == {b'{"y":3.0}'}


@pytest.mark.parametrize("dropout", DROPOUTS)
@pytest.mark.parametrize("keep", [0.9, 0.5, 0.99999994, 1e-45])
def test_dropout_that_may_drop_is_unsteady(
    tmp_path: Path, dropout: Any, keep: float
) -> None:
    def build() -> Pair:
        x = given()
        return x, dropout(x, v1.placeholder_with_default(keep, [], "keep"))

    assert unsteady(older(tmp_path / "m", build, False)) == {"RandomUniform"}


@pytest.mark.parametrize("dropout", DROPOUTS)
def test_dropout_whose_share_is_an_input_is_unsteady(
    tmp_path: Path, dropout: Any
) -> None:
    path = save(
        tmp_path / "m",
        lambda x, keep: {"y": dropout(x, tf.reduce_min(keep))},
        [spec("x"), spec("keep")],
    )
    assert unsteady(path) == {"RandomUniform"}


def test_random_numbers_that_also_go_elsewhere_are_unsteady(tmp_path: Path) -> None:
    def build(x: Any) -> Any:
        drawn = tf.random.uniform(tf.shape(x))
        return tf.where(drawn >= 0.0, x, 0.0) + drawn

    assert unsteady(newer(tmp_path / "m", build)) == {"RandomUniform"}


def random_length(x: Any, fill: Callable[[Any], Any]) -> Any:
    """Add a sum of as many ones as are drawn."""
    length = tf.random.uniform([1], 1, 9, tf.int32)
    return x + tf.reduce_sum(fill(length))


LENGTHS: dict[str, Callable[[Any], Any]] = {
    "filled": lambda length: tf.fill(length, 1.0),
    "drawn": lambda length: tf.cast(tf.random.uniform(length) >= 0.0, tf.float32),
    "tiled": lambda length: tf.tile(tf.ones([1]), length),
    "broadcast": lambda length: tf.broadcast_to(tf.ones([1]), length),
}


@pytest.mark.parametrize("what", LENGTHS)
def test_elements_that_are_known_of_a_tensor_of_random_length(
    tmp_path: Path, what: str
) -> None:
    def build(x: Any) -> Any:
        return random_length(x, LENGTHS[what])

    path = newer(tmp_path / "m", build)
    assert "RandomUniformInt" in unsteady(path)


def test_compiled_code_draws_in_its_own_way(tmp_path: Path) -> None:
    compiled = tf.function(older_dropout, jit_compile=True)
    found = unsteady(newer(tmp_path / "m", lambda x: compiled(x, tf.constant(1.0))))
    assert found == {"RandomUniform"}


def test_a_product_may_be_known_of_one_use_and_not_of_another(tmp_path: Path) -> None:
    """The same function is called with a constant, and with a value."""
    called = tf.function(newer_dropout)

    def build(x: Any) -> Any:
        kept = called(x, tf.constant(1.0))
        return kept + called(x, tf.reduce_min(x))

    assert unsteady(newer(tmp_path / "m", build)) == {"RandomUniform"}


def test_a_whole_number_that_overflows_is_not_known(tmp_path: Path) -> None:
    """64 + 64 is -128 as int8, and what is taken then is random."""

    def build(x: Any) -> Any:
        doubled = v1.placeholder_with_default(tf.constant(64, tf.int8), [])
        is_great = doubled + doubled > tf.constant(100, tf.int8)
        return tf.cond(is_great, lambda: x, lambda: noisy(x))

    def older_build() -> Pair:
        x = given()
        return x, build(x)

    assert unsteady(older(tmp_path / "m", older_build, True)) == {"RandomUniform"}
