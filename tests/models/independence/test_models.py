"""Models that people have: which of them join rows, and that answers stay right."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from gomlx.models.independence.proof import Verdict
from gomlx.models.serving.servable import Servable
from gomlx.models.staging.rows import rows_apart
from gomlx.models.version import ModelVersion, Settings
from tests.support.families.parts import static_table
from tests.support.saved_models import save, spec

Stage = Callable[..., ModelVersion]
Build = Callable[[Path], Path]
GENRES = ["Action", "Comedy", "Drama"]


def genres(separator: str, width: int | None = None) -> Build:
    """A text of several values, split in the graph, padded, and looked up."""

    def build(path: Path) -> Path:
        table = static_table(GENRES, 0, tf.constant([1, 2, 3], tf.int64))

        def f(w: Any) -> Any:
            words = tf.strings.split(tf.reshape(w, [-1]), separator)
            ids = table.lookup(words.to_tensor(shape=[None, width]))
            return {"y": tf.reduce_max(tf.one_hot(ids, 4), 1)}

        return save(path, f, [spec("w", "string")], table)

    return build


def of_floats(function: Callable[[Any], Any]) -> Build:
    return lambda path: save(path, lambda x: {"y": function(x)}, [spec("x")])


def ids_in_a_text(path: Path) -> Path:
    def f(w: Any) -> Any:
        parts = tf.strings.split(tf.reshape(w, [-1]), ",").to_tensor("0")
        numbers = tf.strings.to_number(tf.where(parts == "", "0", parts))
        return {"y": tf.reduce_mean(numbers, 1)}

    return save(path, f, [spec("w", "string")])


def recurrent(path: Path) -> Path:
    """An LSTM over sequences of any length: its loop is as long as the sequence."""
    import keras

    ids = keras.Input([None], name="ids", dtype="int32")
    embedded = keras.layers.Embedding(20, 4)(ids)
    y = keras.layers.Dense(1)(keras.layers.LSTM(8)(embedded))
    keras.Model(ids, {"y": y}).export(str(path), verbose=False)
    return path


def attention(path: Path) -> Path:
    import keras

    ids = keras.Input([6], name="ids", dtype="int32")
    embedded = keras.layers.Embedding(20, 8, mask_zero=True)(ids)
    found = keras.layers.MultiHeadAttention(2, 4)(embedded, embedded)
    found = keras.layers.LayerNormalization()(found)
    y = keras.layers.Dense(1)(keras.layers.GlobalAveragePooling1D()(found))
    keras.Model(ids, {"y": y}).export(str(path), verbose=False)
    return path


# name → (model, rows of which some would disturb others, whether they join)
MODELS: dict[str, tuple[Build, list[dict[str, Any]], bool]] = {
    "padded to the longest": (
        genres("|"),
        [{"w": "Drama"}, {"w": "Drama|Action|Comedy"}, {"w": ""}],
        False,
    ),
    "padded to the longest, by blanks": (
        genres(" "),
        [{"w": "Drama"}, {"w": "Drama Action"}],
        False,
    ),
    "padded to a width": (
        genres("|", 3),
        [{"w": "Drama"}, {"w": "Drama|Action|Comedy"}, {"w": "x|y|z|u"}],
        True,
    ),
    "ids in a text": (ids_in_a_text, [{"w": "1,2"}, {"w": "3,4,5,6"}], False),
    "by the size of the batch": (
        of_floats(lambda x: x / tf.cast(tf.shape(x)[0], tf.float32)),
        [{"x": 1.0}, {"x": 2.0}],
        False,
    ),
    "by the place in the batch": (
        of_floats(
            lambda x: x + tf.cast(tf.range(tf.shape(x)[0]) // 1000, tf.float32)[:, None]
        ),
        [{"x": 1.0}, {"x": 2.0}],
        False,
    ),
    "a sequence of any length": (
        recurrent,
        [{"ids": [1, 2, 3]}, {"ids": [4, 5, 6]}, {"ids": [7] * 9}],
        True,
    ),
    "attention with a mask": (
        attention,
        [{"ids": [1, 2, 3, 0, 0, 0]}, {"ids": [9, 8, 7, 6, 5, 4]}],
        True,
    ),
}


def answers(servable: Servable, rows: list[dict[str, Any]]) -> list[Any]:
    """Run rows as a worker would: together only if they may."""
    checked = [servable.signature.check(row).rows[0] for row in rows]
    if servable.description.joins_rows:
        found = servable.run(checked)
    else:
        found = [servable.run([row])[0] for row in checked]
    return [json.loads(answer)["y"] for answer in found]


@pytest.mark.parametrize("name", MODELS)
def test_rows_are_answered_as_alone(tmp_path: Path, staged: Stage, name: str) -> None:
    build, rows, joins = MODELS[name]
    servable = Servable(staged(build(tmp_path / "m")))
    assert servable.description.joins_rows is joins, servable.description.rows_apart
    alone = [answers(servable, [row])[0] for row in rows]
    for among in (rows, rows[::-1], rows * 5):
        for row, answer in zip(among, answers(servable, among), strict=True):
            assert answer == pytest.approx(alone[rows.index(row)], rel=1e-5)


def test_the_config_may_vouch_for_a_model(
    tmp_path: Path, staged: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    source = genres("|")(tmp_path / "m")
    version = staged(source, settings=Settings(rows="independent"))
    assert Servable(version).description.joins_rows
    assert "because the config vouches for it" in caplog.text
    assert version.digest != staged(source).digest


def test_the_config_may_have_rows_run_alone(tmp_path: Path, staged: Stage) -> None:
    source = of_floats(lambda x: x * 2)(tmp_path / "m")
    description = Servable(staged(source, settings=Settings(rows="alone"))).description
    assert description.rows_apart == "the config says `rows: alone`"


def test_a_trial_that_disagrees_with_the_proof_is_an_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert rows_apart("m", "proved", Verdict(True), lambda: False)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "the graph proves that it cannot" in record.message


def test_a_model_of_many_variables_joins_rows(tmp_path: Path, staged: Stage) -> None:
    """Each variable leads to the node that calls the function: it is seen once."""
    factors = [tf.Variable(1.0 + i / 100) for i in range(50)]

    def f(x: Any) -> Any:
        for factor in factors:
            x = x * factor
        return {"y": x}

    version = staged(save(tmp_path / "m", f, [spec("x")], factors))
    assert Servable(version).description.rows_apart == ""
