"""Models whose answer to a row depends on all rows: what staging makes of them."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from gomlx.errors import StageFailed
from gomlx.models.serving import session as tf_session
from gomlx.models.serving.servable import Description, Servable
from gomlx.models.staging.samples import Samples
from gomlx.models.staging.trial import Trial, TrialTime, example_values
from gomlx.models.version import ModelVersion, Settings
from tests.support.saved_models import save, spec

Stage = Callable[..., ModelVersion]
Build = Callable[[Path], Path]


def of_floats(function: Callable[[Any], Any]) -> Build:
    return lambda path: save(path, lambda x: {"y": function(x)}, [spec("x")])


def of_numbers(function: Callable[[Any], Any]) -> Build:
    of = [spec("n", "int64")]
    return lambda path: save(path, lambda n: {"y": function(n)}, of)


def of_words(function: Callable[[Any], Any]) -> Build:
    """A model of what is looked up for words."""

    def build(path: Path) -> Path:
        words = tf.lookup.KeyValueTensorInitializer(["a", "b"], [1.0, 2.0])
        table = tf.lookup.StaticHashTable(words, 0.5)
        of = [spec("w", "string")]
        return save(path, lambda w: {"y": function(table.lookup(w))}, of, table)

    return build


def in_training(path: Path) -> Path:
    """BatchNormalization that was exported with the moments of the batch."""

    def f(x: Any) -> Any:
        ones = tf.ones([1])
        found, _, _ = tf.compat.v1.nn.fused_batch_norm(
            x[:, None, None], ones, ones, is_training=True
        )
        return {"y": found[:, 0, 0]}

    return save(path, f, [spec("x")])


@tf.function  # type: ignore[untyped-decorator]
def _scores(x: Any) -> Any:
    return tf.nn.softmax(x * 2.0, axis=0)


def bucket(x: Any) -> Any:
    found = tf.raw_ops.Bucketize(input=x, boundaries=[-500.0, 2.5, 7000.0])
    return tf.cast(found, tf.float32)


# what → (model, the operation that the reason names)
LISTWISE: dict[str, tuple[Build, str]] = {
    "softmax": (of_floats(lambda x: tf.nn.softmax(x, axis=0)), "Softmax"),
    "softmax of a row of scores": (
        of_floats(lambda x: tf.reshape(tf.nn.softmax(tf.reshape(x, [1, -1])), [-1, 1])),
        "Softmax",
    ),
    "softmax in a function": (of_floats(_scores), "Softmax"),
    "log-softmax": (of_floats(lambda x: tf.nn.log_softmax(x, axis=0)), "LogSoftmax"),
    "mean": (of_floats(lambda x: x - tf.reduce_mean(x, 0)), "Mean"),
    "max": (of_floats(lambda x: x / tf.reduce_max(x)), "Max"),
    "sum of squares": (of_floats(lambda x: x / tf.nn.l2_loss(x)), "L2Loss"),
    "rank": (
        of_floats(lambda x: tf.cast(tf.argsort(x, axis=0), tf.float32)),
        "TopKV2",
    ),
    "running sum": (of_floats(lambda x: tf.cumsum(x, exclusive=True)), "Cumsum"),
    "attention": (
        of_floats(lambda x: tf.nn.softmax(x @ tf.transpose(x)) @ x),
        "MatMul",
    ),
    "batch normalisation": (in_training, "FusedBatchNormV3"),
    "words, max": (of_words(lambda z: z - tf.reduce_max(z)), "Max"),
    "words, softmax": (of_words(lambda z: tf.nn.softmax(z, axis=0)), "Softmax"),
    "buckets, max": (
        of_numbers(lambda n: bucket(n) - tf.reduce_max(bucket(n))),
        "Max",
    ),
}


@pytest.mark.parametrize("what", LISTWISE)
def test_a_listwise_model_is_refused_unless_the_config_says_how_it_is_meant(
    tmp_path: Path, staged: Stage, what: str
) -> None:
    build, operation = LISTWISE[what]
    source = build(tmp_path / "source")
    with pytest.raises(StageFailed) as raised:
        staged(source)
    reason = str(raised.value)
    assert re.match(rf"its answer to a row depends on all rows.*: {operation} ", reason)
    assert "`batch: {rows: together}`" in reason
    assert "`batch: {rows: alone}`" in reason


@pytest.mark.parametrize("rows", ["alone", "together"])
def test_a_listwise_model_runs_as_the_config_says(
    tmp_path: Path, staged: Stage, rows: str
) -> None:
    source = LISTWISE["softmax"][0](tmp_path / "source")
    version = staged(source, settings=Settings(rows=rows))
    description = Description.read(version.directory)
    assert description.rows_apart == f"the config says `rows: {rows}`"
    assert description.rows_together is (rows == "together")


def weighted(path: Path, weight: float) -> Path:
    variable = tf.Variable(weight)

    def f(x: Any) -> Any:
        return {"y": tf.nn.softmax(x * variable, axis=0)}

    return save(path, f, [spec("x")], variable)


def test_the_rows_of_a_request_are_compared_together(
    tmp_path: Path, staged: Stage
) -> None:
    """Row by row, all weights answer the same."""
    together = Settings(rows="together")
    source = weighted(tmp_path / "one", 1.0)
    one = Servable(staged(source, "one", settings=together))
    other = weighted(tmp_path / "other", 0.5)
    two = Servable(staged(other, "two", settings=together))
    example = (0.25,)
    tried = Samples(one.signature.fields, ((),), ((0.5, -1.0),), (0,), example)
    with tf_session.loaded(source) as session:
        binding = one.description.binding
        call = tf_session.make_callable(session, binding.feeds, binding.fetches)
        values = example_values(one.description, call, example)
        trial = Trial(one.description, call, tried, values, TrialTime(0))
        trial.compare(two)
        trial.compare_together(one)
        with pytest.raises(StageFailed, match="run together"):
            trial.compare_together(two)


def test_rows_that_are_answered_together_may_be_any_number(
    tmp_path: Path, staged: Stage
) -> None:
    """A graph for eight would be fed the last row repeatedly."""

    def f(x: Any) -> Any:
        return {"y": tf.nn.softmax(x, axis=0)}

    source = save(tmp_path / "m", f, [spec("x", shape=(8, 1))])
    with pytest.raises(StageFailed, match="any number of rows"):
        staged(source, settings=Settings(rows="together"))


def padded(path: Path) -> Path:
    """Texts of several values, padded to the longest of the batch."""

    def f(w: Any) -> Any:
        words = tf.strings.split(tf.reshape(w, [-1]), "|").to_tensor()
        return {"y": tf.reduce_max(tf.strings.length(words), 1)}

    return save(path, f, [spec("w", "string")])


def longest(n: Any) -> Any:
    """Padding to the greatest of lengths."""
    width = tf.cast(tf.reduce_max(n) % 7 + 1, tf.int32)
    return tf.reduce_sum(tf.ones([tf.size(n), width]), 1)


def positive(x: Any) -> Any:
    with tf.control_dependencies([tf.debugging.assert_greater(x, -1e30)]):
        return x * 2.0


APART: dict[str, Build] = {
    "padded to the longest": padded,
    "the greatest of integers": of_numbers(longest),
    "the size of the batch": of_floats(
        lambda x: x / tf.cast(tf.shape(x)[0], tf.float32)
    ),
    "a condition": of_floats(lambda x: x + tf.where(tf.reduce_any(x > 9.0), 1.0, 0.0)),
}


@pytest.mark.parametrize("what", APART)
def test_what_mixes_rows_without_their_floats_runs_alone(
    tmp_path: Path, staged: Stage, what: str
) -> None:
    version = staged(APART[what](tmp_path / "source"))
    description = Description.read(version.directory)
    assert not description.joins_rows
    assert not description.rows_together


def test_an_assert_over_the_batch_is_no_answer(tmp_path: Path, staged: Stage) -> None:
    version = staged(of_floats(positive)(tmp_path / "source"))
    assert Description.read(version.directory).joins_rows
