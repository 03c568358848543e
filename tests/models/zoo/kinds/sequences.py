"""Models of sequences: recurrent, convolutional, with attention."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

from tests.models.zoo.situation import Build, Situation, of, rows
from tests.support.saved_models import save, spec

OF_ANY_LENGTH = rows("ids", [[1, 2, 3], [4, 5, 6], [7] * 9, [8, 0]])
OF_SIX = rows("ids", [[1, 2, 3, 0, 0, 0], [9, 8, 7, 6, 5, 4], [0] * 6])
EVENTS = spec("x", shape=(None, None, 2))
OF_EVENTS = rows("x", [[[1, 2], [3, 4]], [[5, 6], [0.5, 0]], [[9, 9]] * 5])


def keras_sequence(length: int | None, body: Callable[[Any], Any]) -> Build:
    """Ids through an embedding that masks 0, and the layers of `body`."""

    def build(path: Path) -> Path:
        import keras as k

        k.utils.set_random_seed(8)
        ids = k.Input([length], name="ids", dtype="int32")
        embedded = k.layers.Embedding(20, 4, mask_zero=length is not None)(ids)
        y = k.layers.Dense(1)(body(embedded))
        k.Model(ids, {"y": y}).export(str(path), verbose=False)
        return path

    return build


def lstm(x: Any) -> Any:
    import keras

    return keras.layers.LSTM(6)(x)


def both_ways(x: Any) -> Any:
    import keras

    return keras.layers.Bidirectional(keras.layers.GRU(4))(x)


def attention(x: Any) -> Any:
    import keras

    found = keras.layers.MultiHeadAttention(2, 4)(x, x)
    found = keras.layers.LayerNormalization()(x + found)
    return keras.layers.GlobalAveragePooling1D()(found)


def convolved(x: Any) -> Any:
    import keras

    found = keras.layers.Conv1D(5, 2, padding="same", activation="relu")(x)
    return keras.layers.GlobalMaxPooling1D()(found)


def with_lengths(path: Path) -> Path:
    """Padded events and their true number: what lies behind it must not count."""

    def f(x: Any, length: Any) -> Any:
        mask = tf.sequence_mask(length, tf.shape(x)[1], tf.float32)
        total = tf.reduce_sum(x * mask[:, :, None], 1)
        return {"y": total / tf.cast(tf.maximum(length, 1), tf.float32)[:, None]}

    return save(path, f, [EVENTS, spec("length", "int32", (None,))])


def positions(x: Any) -> Any:
    """Places in the sequence, added to what stands there."""
    places = tf.cast(tf.range(tf.shape(x)[1]), tf.float32)
    return {"y": x + tf.sin(places)[None, :, None]}


def averaged(x: Any) -> Any:
    """A moving average over time."""
    by_time = tf.transpose(x, [1, 0, 2])
    found = tf.scan(lambda before, now: 0.5 * before + now, by_time)
    return {"y": tf.transpose(found, [1, 0, 2])}


def row_by_row(x: Any) -> Any:
    """map_fn over the rows: each is normalised by its own greatest value."""
    return {"y": tf.map_fn(lambda one: one / (1.0 + tf.reduce_max(one)), x)}


def last_event(x: Any) -> Any:
    return {"y": x[:, -1, :], "total": tf.cumsum(x, 1)[:, -1, 0]}


def causal(x: Any) -> Any:
    """Attention of each place to those before it, as decoders have it."""
    scores = tf.matmul(x, x, transpose_b=True)
    size = tf.shape(x)[1]
    mask = tf.linalg.band_part(tf.ones([size, size]), -1, 0)
    weights = tf.nn.softmax(scores + (1.0 - mask) * -1e9)
    return {"y": tf.matmul(weights, x)}


def until_the_end(x: Any) -> Any:
    """A decoder's loop: it stops when every row of the batch has ended."""

    def turn(i: Any, state: Any, ended: Any) -> Any:
        state = tf.where(ended, state, state * 0.5 + 1.0)
        return i + 1, state, ended | (tf.abs(state - 2.0) < 0.1)

    start = (0, x[:, 0, 0], tf.zeros_like(x[:, 0, 0], tf.bool))
    found = tf.while_loop(
        lambda i, _, ended: (i < 20) & ~tf.reduce_all(ended), turn, start
    )
    return {"y": found[1]}


SITUATIONS = [
    Situation(
        "an LSTM over sequences of any length",
        keras_sequence(None, lstm),
        OF_ANY_LENGTH,
        rounds=True,
    ),
    Situation(
        "an LSTM over sequences with a mask",
        keras_sequence(6, lstm),
        OF_SIX,
        rounds=True,
    ),
    Situation(
        "a GRU both ways over sequences with a mask",
        keras_sequence(6, both_ways),
        OF_SIX,
        rounds=True,
    ),
    Situation(
        "attention over sequences with a mask",
        keras_sequence(6, attention),
        OF_SIX,
        rounds=True,
    ),
    Situation(
        "attention over sequences of any length",
        keras_sequence(None, attention),
        OF_ANY_LENGTH,
        rounds=True,
    ),
    Situation(
        "convolutions over sequences of any length",
        keras_sequence(None, convolved),
        OF_ANY_LENGTH,
        rounds=True,
    ),
    Situation(
        "events and their number",
        with_lengths,
        [
            {"x": [[1, 2], [3, 4]], "length": 1},
            {"x": [[5, 6], [7, 8]], "length": 2},
            {"x": [[9, 9]] * 4, "length": 3},
        ],
        rounds=True,
    ),
    Situation("places in a sequence", of(positions, EVENTS), OF_EVENTS),
    Situation(
        "a moving average over time", of(averaged, EVENTS), OF_EVENTS, rounds=True
    ),
    Situation("map_fn over the rows", of(row_by_row, EVENTS), OF_EVENTS),
    Situation(
        "the last event and the sum of all",
        of(last_event, EVENTS),
        OF_EVENTS,
        rounds=True,
    ),
    Situation(
        "attention to what came before", of(causal, EVENTS), OF_EVENTS, rounds=True
    ),
    Situation(
        "a loop until every sequence has ended",
        of(until_the_end, EVENTS),
        OF_EVENTS,
        joins=False,
    ),
]
