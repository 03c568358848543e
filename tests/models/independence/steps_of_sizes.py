"""Steps that use a number as a bound, a multiple or a length: the batch's size, too."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tests.models.independence.graphs import Graph, step


def size(g: Graph) -> Any:
    """A size of a tensor, rather the number of its rows; or one that varies."""
    x = g.f
    ways: list[Callable[[], Any]] = [
        *[lambda: tf.shape(x)[0]] * 3,
        lambda: tf.shape(x)[-1],
        lambda: tf.size(x),
        lambda: tf.size(g.i),
        lambda: tf.rank(x),
        lambda: tf.size(tf.where(x > 0)),
        lambda: tf.cast(tf.reduce_max(g.i), tf.int32),
        lambda: tf.shape(x)[tf.shape(g.f)[-1] % 2],
    ]
    return g.random.choice(ways)()


def number(g: Graph) -> Any:
    """A small number, or what is computed of sizes."""
    found = g.random.choice([size, _changed, _bounded, _constant])(g)
    return _changed(g, found) if g.random.random() < 0.2 else found


def _constant(g: Graph) -> Any:
    return g.random.choice([1, 2, 3, 4, g.height])


def _changed(g: Graph, found: Any = None) -> Any:
    found = size(g) if found is None else found
    other = g.random.choice([1, 2, size(g)])
    way = g.random.choice([tf.add, tf.subtract, tf.multiply, tf.math.floordiv])
    return way(found, other)


def _bounded(g: Graph) -> Any:
    """The larger or the smaller of two, or a number that has both bounds."""
    low = g.random.choice([1, 2, size(g)])
    high = g.random.choice([low, low, 3, size(g)])
    ways: list[Callable[[Any], Any]] = [
        lambda x: tf.maximum(x, low),
        lambda x: tf.minimum(x, high),
        lambda x: tf.minimum(tf.maximum(x, low), high),
        lambda x: -tf.maximum(tf.minimum(-x, -low), -high),
    ]
    return g.random.choice(ways)(size(g))


def shape(g: Graph, rank: int) -> list[Any]:
    """A shape of which some sizes are computed; the first is rather the batch's."""
    first = tf.shape(g.f)[0] if g.likely() else number(g)
    rest = [number(g) if g.random.random() < 0.4 else 4 for _ in range(rank - 1)]
    found = [first, *rest]
    if g.random.random() < 0.3:
        g.random.shuffle(found)
    return found


def one_of(g: Graph) -> Any:
    """A tensor of rows, a constant, or what has an axis of an unknown length."""
    x = g.f
    found: list[Any] = [x, x, x[:, 1:], g.constant(4), g.constant(1, 4)]
    return g.random.choice([*found, g.constant(g.height, 4)])


@step
def use_a_number(g: Graph) -> Any:
    x = g.f
    return x * tf.cast(number(g), tf.float64)


@step
def slice_to_number(g: Graph) -> Any:
    x = one_of(g)
    n = number(g)
    return g.random.choice([x[:, :n], x[..., :n], x[:, :n, ...]])


@step
def slice_by_number(g: Graph) -> Any:
    x = one_of(g)
    n = number(g)
    return g.random.choice([x[:, n:], x[:, ::n], x[:, n], x[:n], x[0:n]])


@step
def slice_by_sizes(g: Graph) -> Any:
    x = one_of(g)
    rest = [number(g) if g.likely() else -1 for _ in x.shape[1:]]
    first = -1 if g.likely() else tf.shape(x)[0]
    begin = [0] * len(x.shape)
    return tf.slice(x, begin, [first, *rest])


@step
def split_by_sizes(g: Graph) -> Any:
    x = g.f
    n = number(g)
    return tf.split(x, [n, tf.shape(x)[1] - n], 1, num=2)


@step
def tile_by_numbers(g: Graph) -> Any:
    x = one_of(g)
    multiples = [1 if g.likely() else number(g) for _ in x.shape]
    multiples[-1] = number(g)
    return tf.tile(x, multiples)


@step
def tile_constant_by_numbers(g: Graph) -> Any:
    x = g.constant(g.random.choice([1, 2]), 4)
    return tf.tile(x, shape(g, 2))


@step
def repeat_by_number(g: Graph) -> Any:
    x = one_of(g)
    return tf.repeat(x, number(g), axis=g.axis(x))


@step
def range_to_number(g: Graph) -> Any:
    places = tf.range(number(g))
    return g.random.choice([places, tf.reshape(places, [-1, 1])])


@step
def add_range(g: Graph) -> Any:
    x = g.f
    return x + tf.cast(tf.range(number(g)), tf.float64)


@step
def one_hot_of_number(g: Graph) -> Any:
    return tf.one_hot(g.i, number(g), axis=g.random.choice([-1, -1, 0]))


@step
def reshape_to_sizes(g: Graph) -> Any:
    found = shape(g, g.random.choice([2, 2, 3]))
    found[g.random.randrange(len(found))] = -1
    return tf.reshape(g.f, found)


@step
def reshape_with_batch_behind(g: Graph) -> Any:
    x = g.f
    rows = tf.shape(x)[0]
    return tf.reshape(x, g.random.choice([[-1, rows], [4, rows], [1, rows, -1]]))


@step
def fill_sizes(g: Graph) -> Any:
    return tf.fill(shape(g, g.random.choice([1, 2, 2])), 2.5)


@step
def broadcast_to_sizes(g: Graph) -> Any:
    return tf.broadcast_to(one_of(g), shape(g, g.random.choice([2, 2, 3])))


@step
def pad_by_number(g: Graph) -> Any:
    widths = [[0, 0], [0, number(g)]]
    return tf.pad(one_of(g), widths if g.likely() else widths[::-1])


@step
def largest_by_number(g: Graph) -> Any:
    return list(tf.math.top_k(g.f, number(g)))


@step
def roll_by_number(g: Graph) -> Any:
    return tf.roll(g.f, number(g), 1)


@step
def mask_to_number(g: Graph) -> Any:
    return tf.sequence_mask(g.i % 5, number(g), tf.float64)


@step
def column_by_number(g: Graph) -> Any:
    return tf.gather(one_of(g), number(g) % 4, axis=1)


@step
def size_by_number(g: Graph) -> Any:
    x = g.f
    found = tf.gather(tf.shape(x), number(g) - 1)
    return x / (1.0 + tf.cast(found, tf.float64))


@step
def segments_by_number(g: Graph) -> Any:
    ways = [
        tf.math.unsorted_segment_sum,
        tf.math.unsorted_segment_max,
        tf.math.unsorted_segment_mean,
        tf.math.unsorted_segment_prod,
    ]
    x = g.f
    own = tf.range(tf.shape(x, tf.int64)[0])
    return g.random.choice(ways)(x, own if g.likely() else g.i, number(g))


@step
def count_to_number(g: Graph) -> Any:
    weights = g.random.choice([None, None, g.f, g.constant(g.height, 3)])
    return tf.raw_ops.DenseBincount(
        input=g.i,
        size=tf.cast(number(g), tf.int64),
        weights=tf.constant([], tf.float64) if weights is None else weights,
        binary_output=g.likely(),
    )


@step
def loop_to_number(g: Graph) -> Any:
    x = g.f
    turns = number(g)
    return tf.while_loop(
        lambda i, y: i < turns, lambda i, y: (i + 1, tf.tanh(y + x)), [0, x]
    )[1]
