"""Steps in which the place of a row counts, and functions that are called twice."""

from random import Random
from typing import Any

import tensorflow as tf

from tests.models.independence.graphs import Graph, step


def places(g: Graph, *shape: int) -> Any:
    """A constant with an element for each place of a batch of some size."""
    return g.constant(g.height, *shape)


@step
def add_places(g: Graph) -> Any:
    return g.f + g.random.choice([places(g, 4), places(g, 1), places(g)])


@step
def multiply_places(g: Graph) -> Any:
    x = g.f
    return g.random.choice([places(g, 4) @ x, x @ tf.transpose(places(g, 4))])


@step
def reshape_to_height(g: Graph) -> Any:
    h = g.height
    targets = [[h, -1], [-1, h], [h, 4], [4, h], [h, 2, 2], [2, h // 2, -1]]
    return tf.reshape(g.f, g.random.choice(targets))


@step
def broadcast_to_height(g: Graph) -> Any:
    x = g.random.choice([g.f, places(g, 1), g.constant(4)])
    return tf.broadcast_to(x, [g.height, 4])


@step
def slice_to_height(g: Graph) -> Any:
    x = g.f
    h = g.height
    return g.random.choice([x[:h], x[:, :h], x[h // 2 :], tf.slice(x, [0, 0], [h, 2])])


@step
def of_a_height(g: Graph) -> Any:
    x = g.f
    return tf.ensure_shape(x, [x.shape[0], 4])


@step
def gather_places(g: Graph) -> Any:
    order = [g.random.randrange(g.height) for _ in range(g.height)]
    return tf.gather(g.f, order, axis=g.random.choice([0, 0, 1]))


@step
def concat_places(g: Graph) -> Any:
    return tf.concat([g.f, places(g, 2)], 1)


@step
def stack_places(g: Graph) -> Any:
    x = g.f
    return tf.stack([x, places(g, 4)], g.axis(x))


@step
def select_by_vector(g: Graph) -> Any:
    x = g.f
    a, b = (g.random.choice([x, g.f, places(g, 4)]) for _ in range(2))
    chosen = g.random.choice([g.i > 2, g.f[:, 0] > 0, places(g) > 0])
    return tf.raw_ops.Select(condition=chosen, x=a, y=b)


@step
def where_by_column(g: Graph) -> Any:
    x = g.f
    chosen = g.random.choice([(g.i > 2)[:, None], g.i > 2, places(g, 1) > 0])
    return tf.where(chosen, x, g.random.choice([-x, places(g, 4), g.constant(4)]))


@step
def reverse_sequence(g: Graph) -> Any:
    fixed = tf.constant([g.random.randrange(3) for _ in range(g.height)])
    x = g.f
    count = tf.shape(x)[:1]
    lengths = g.random.choice([g.i % 3, g.i % 3, fixed, tf.fill(count, 2)])
    return tf.reverse_sequence(x, lengths, 1, batch_axis=0)


@step
def gather_by_places(g: Graph) -> Any:
    fixed = tf.constant([[g.random.randrange(2)] for _ in range(g.height)])
    indices = fixed if g.random.random() < 0.5 else tf.cast(g.i % 2, tf.int32)
    return tf.gather(g.f, indices, axis=1, batch_dims=1)


@step
def gather_twice(g: Graph) -> Any:
    """Look up two rows of a table for each number, one after the other."""
    i = g.i % 4
    pairs = tf.reshape(tf.stack([i, i], 1), [-1])
    table = g.random.choice([g.constant(4, 4), tf.transpose(g.constant(4, 4))])
    return tf.gather(table, pairs)


@step
def halve(g: Graph) -> Any:
    """Take apart, and join, what reshaping has made of two rows."""
    x = g.f
    pairs = tf.reshape(x, [-1, 2, *x.shape[1:].as_list()])
    return g.random.choice([pairs[:, 0], tf.reduce_sum(pairs, 1), pairs])


@step
def sum_of_places(g: Graph) -> Any:
    x = g.f
    equation = g.random.choice(["bi,bi->bi", "bi,bj->ij", "bi,ci->bc"])
    return tf.einsum(equation, x, places(g, 4))


@step
def element_by_turn(g: Graph) -> Any:
    """A loop over rows that reads its own row, or the one at another place."""
    x = g.f
    zero = tf.constant(0)
    count = tf.shape(x)[0]
    given = tf.TensorArray(x.dtype, count).unstack(x)
    made = tf.TensorArray(x.dtype, count)
    way = g.random.choice(["own", "own", "first", "last"])

    def turn(i: Any, out: Any) -> Any:
        other = {"own": i, "first": zero, "last": count - 1}[way]
        return i + 1, out.write(i, tf.tanh(given.read(other)))

    return tf.while_loop(lambda i, _: i < count, turn, (zero, made))[1].stack()


@step
def called_twice(g: Graph) -> Any:
    """Call a function of random steps, for different tensors.

    It has one result: a function fails as a whole.
    """
    seed = g.random.random()
    steps = g.random.choice([1, 1, 2])
    kind = g.random.randrange(3)

    def body(x: Any, i: Any, w: Any) -> Any:
        inner = Graph(Random(seed), [x], [i], [w], height=g.height)
        inner.grow(steps)
        return [inner.floats, inner.integers, inner.texts][kind][-1]

    function = tf.function(body, autograph=False)
    return [function(g.f, g.i, g.t), function(g.f, g.i, g.t)]
