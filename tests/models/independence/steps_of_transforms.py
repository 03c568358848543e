"""Steps over vectors and matrices of the last axes, and over parsed texts."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tests.models.independence.graphs import Graph, step


def _flat(g: Graph) -> Any:
    """Rows of numbers, in a tensor of two axes; rather as they are."""
    x = tf.reshape(g.f, [-1, 4])
    return x if g.likely() else tf.transpose(x)


@step
def spectrum(g: Graph) -> Any:
    x = _flat(g)
    length = g.random.choice([[4], [8], tf.shape(x)[-1:], tf.shape(x)[:1]])
    ways: list[Callable[[], Any]] = [
        lambda: tf.abs(tf.signal.rfft(x, length)),
        lambda: tf.math.real(tf.signal.fft(tf.cast(x, tf.complex128))),
        lambda: tf.math.imag(tf.signal.fft(tf.complex(x, x))),
        lambda: tf.abs(tf.signal.rfft2d(tf.reshape(x, [-1, 2, 2]))),
        lambda: tf.abs(tf.signal.rfft2d(x, [4, 4])),
    ]
    return g.random.choice(ways)()


@step
def algebra(g: Graph) -> Any:
    x = tf.reshape(_flat(g), [-1, 2, 2])
    other = tf.reshape(g.f, [-1, 2, 2])
    other = g.random.choice(
        [other, other[:1], tf.reverse(other, [0]), g.constant(2, 2)]
    )
    square = tf.matmul(x, x, transpose_b=True) + 3.0 * tf.eye(2, dtype=tf.float64)
    ways: list[Callable[[], Any]] = [
        lambda: tf.linalg.det(x),
        lambda: tf.linalg.slogdet(square).log_abs_determinant,
        lambda: tf.linalg.inv(square),
        lambda: tf.raw_ops.MatrixSolve(matrix=square, rhs=other),
        lambda: tf.linalg.cholesky(square),
        lambda: tf.linalg.svd(x, compute_uv=False),
        lambda: tf.linalg.svd(tf.reshape(x, [-1, 4]), compute_uv=False),
        lambda: tf.linalg.eigh(square)[0],
    ]
    return g.random.choice(ways)()


@step
def enlarged(g: Graph) -> Any:
    x = tf.reshape(_flat(g), [-1, 4, 1, 1])
    x = x if g.likely() else tf.transpose(x, [1, 0, 2, 3])
    height = g.random.choice([tf.shape(x)[0], tf.shape(g.f)[0], 4])
    length = g.random.choice([5, 5, tf.shape(x)[1] + 1, tf.shape(x)[0] + 1])
    weights = g.constant(2, 1, 1, 1)
    shape = [height, length, 1, 1]
    return tf.nn.conv2d_transpose(x, weights, shape, 1, "VALID")


@step
def joined_texts(g: Graph) -> Any:
    pair = tf.stack([g.t, g.t], g.random.choice([0, 1]))
    axis = g.random.choice([0, 1, -1])
    return tf.strings.reduce_join(pair, axis, g.random.random() < 0.3, ",")


@step
def parsed(g: Graph) -> Any:
    """Features of texts that are not examples: those that are missing."""
    text = tf.strings.substr(g.t, 0, 0)
    forms = [
        tf.io.FixedLenFeature([2], tf.float32, [0.5, 1.0]),
        tf.io.FixedLenSequenceFeature([], tf.float32, True, default_value=1.0),
    ]
    return tf.io.parse_example(text, {"a": g.random.choice(forms)})["a"]
