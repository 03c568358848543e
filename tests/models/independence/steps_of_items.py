"""Steps that compute with each part of a row, and reduce the parts of each row."""

from typing import Any

import tensorflow as tf

from tests.models.independence.graphs import Graph, Parts, step
from tests.models.independence.steps_of_texts import two


def numbers_of(g: Graph, values: Any) -> Any:
    """Numbers below 7, one for each part."""
    if values.dtype == tf.string:
        return tf.strings.to_hash_bucket_fast(values, 7)
    return tf.cast(values, tf.int64) % 7


def lengths_of(one: Parts) -> Any:
    return one.splits[1:] - one.splits[:-1]


@step
def embed_parts(g: Graph) -> Any:
    one = g.p
    table = g.random.choice([g.constant(7, 4), g.constant(7), g.constant(7, 2, 2)])
    return one._replace(values=tf.gather(table, numbers_of(g, one.values)))


@step
def compute_with_parts(g: Graph) -> Any:
    """Compute with what each part has, or with all of them."""
    one, other = two(g)
    x = tf.cast(one.values, tf.float64)
    y = tf.cast(other.values, tf.float64)
    ways = [
        lambda: x + y,
        lambda: x * g.constant(4),
        lambda: x @ g.constant(4, 4),
        lambda: tf.nn.softmax(x, g.axis(x)),
        lambda: x - tf.reduce_max(x, g.axis(x), keepdims=True),
        lambda: tf.reduce_sum(x, g.axis(x)),
        lambda: tf.concat([x, y], g.axis(x)),
        lambda: tf.stack([x, y], g.axis(x)),
        lambda: tf.ones_like(y) * x,
        lambda: tf.fill(tf.shape(y), tf.constant(2.0, tf.float64)) + x,
        lambda: tf.reshape(x, tf.concat([tf.shape(y), [1]], 0)),
        lambda: tf.reshape(x, [-1, g.random.choice([1, 2, 4])]),
        lambda: tf.expand_dims(x, g.axis(x)),
        lambda: tf.squeeze(x, [g.axis(x)]),
        lambda: tf.squeeze(x),
        lambda: x[:, g.random.choice([0, tf.newaxis, slice(1, 3)])],
        lambda: x[g.random.choice([slice(1, None), slice(None, None, -1), slice(4)])],
        lambda: x + g.constant(g.height),
        lambda: x + g.f,
        lambda: tf.where(x > 0, x, y),
        lambda: tf.raw_ops.Select(condition=y > 0, x=x, y=-x),
        lambda: tf.tile(x[:, None], [1, g.random.choice([1, 2])]),
        lambda: tf.tile(g.constant(1, 4), [tf.shape(y)[0], 1]) + x,
        lambda: tf.transpose(x),
        lambda: tf.gather(x, [1, 0], axis=g.axis(x)),
        lambda: tf.one_hot(numbers_of(g, x), 4, axis=g.random.choice([-1, 0])),
        lambda: x / tf.cast(tf.shape(y)[g.random.choice([0, -1])], tf.float64),
    ]
    return one._replace(values=g.random.choice(ways)())


@step
def reduce_parts(g: Graph) -> Any:
    """Sums, means and their like of each row's parts, as ragged tensors have them."""
    one, other = two(g)
    values = one.values
    if values.dtype == tf.string:
        values = tf.cast(tf.strings.length(values), tf.float64)
    way = g.random.choice([tf.reduce_sum, tf.reduce_mean, tf.reduce_max])
    make = tf.RaggedTensor.from_row_splits
    return way(make(values, other.splits, validate=False), axis=1)


@step
def reduce_by_owners(g: Graph) -> Any:
    one, other = two(g)
    values = tf.cast(one.values, tf.float64)
    math = tf.math
    sorted_ways = [math.segment_sum, math.segment_mean, math.segment_max]
    if g.random.random() < 0.2:
        return g.random.choice(sorted_ways)(values, other.owners)
    ways = [
        math.unsorted_segment_sum,
        math.unsorted_segment_min,
        math.unsorted_segment_prod,
    ]
    count = tf.cast(g.random.choice([one.count, one.count, g.p.count]), tf.int32)
    return g.random.choice(ways)(values, other.owners, count)


@step
def look_up_and_reduce(g: Graph) -> Any:
    one, other = two(g)
    ids = numbers_of(g, one.values)
    ops = tf.raw_ops
    count = tf.cast(g.random.choice([one.count, g.p.count]), tf.int32)
    return ops.SparseSegmentMeanWithNumSegments(
        data=g.random.choice([g.constant(7, 4), g.constant(7)]),
        indices=ids,
        segment_ids=other.owners,
        num_segments=count,
    )


@step
def repeat_for_parts(g: Graph) -> Any:
    """What each row has, or its number, as often as it has parts."""
    one, other = two(g)
    n = tf.cast(one.count, tf.int64)
    x = g.random.choice([g.f, g.i, tf.range(n), g.constant(g.height, 4)])
    lengths = lengths_of(other)
    if g.random.random() < 0.2:
        lengths = g.random.choice([g.i % 3, lengths * 2, lengths - 1, lengths[::-1]])
    found = tf.repeat(x, lengths, axis=0)
    if x.dtype == tf.int64 and g.likely():
        return one._replace(owners=found)
    return one._replace(values=found)


@step
def rows_of_parts(g: Graph) -> Any:
    """What each part's row has."""
    one, other = two(g)
    return one._replace(values=tf.gather(g.random.choice([g.f, g.i]), other.owners))


@step
def select_parts(g: Graph) -> Any:
    """Some parts of each row, and what says where they are; or where others are."""
    one, other = two(g)
    chosen = numbers_of(g, other.values) > g.random.choice([1, 3])
    ways = [
        lambda: tf.where(chosen)[:, 0],
        lambda: tf.reshape(tf.where(chosen), [-1]),
        lambda: tf.squeeze(tf.where(chosen), [1]),
    ]
    places = g.random.choice(ways)()
    last = places if g.likely() else tf.reshape(tf.where(g.i > 2), [-1])
    values = tf.gather(one.values, places)
    owners = tf.gather(one.owners, last)
    count = tf.cast(one.count, tf.int64)
    make = tf.RaggedTensor.from_value_rowids
    splits = make(values, owners, count, validate=False).row_splits
    return Parts(values, owners, splits if g.likely() else one.splits, one.count)


@step
def where_rows(g: Graph) -> Any:
    """The rows of which something holds, as parts: one or none of each."""
    places = tf.where(g.random.choice([g.i > 2, g.f[:, 0] > 0]))
    owners = g.random.choice([places[:, 0], tf.reshape(places, [-1])])
    count = tf.size(g.i, tf.int64)
    values = tf.gather(g.random.choice([g.f, g.i]), owners)
    make = tf.RaggedTensor.from_value_rowids
    splits = make(values, owners, count, validate=False).row_splits
    return Parts(values, owners, splits, count)


@step
def where_elements(g: Graph) -> Any:
    """The elements of rows of which something holds."""
    x = g.random.choice([g.f, g.f, tf.cast(g.i, tf.float64)])
    at = tf.where(x > g.random.choice([0.0, 0.5]))
    values = tf.gather_nd(x if g.likely() else g.f, at)
    owners = at[:, 0]
    count = tf.size(g.i, tf.int64)
    make = tf.RaggedTensor.from_value_rowids
    splits = make(values, owners, count, validate=False).row_splits
    return Parts(values, owners, splits, count)


@step
def unique_values(g: Graph) -> Any:
    """Compute with each value once, and look it up where it came from."""
    x = g.random.choice([g.i, tf.reshape(g.i, [-1]), g.t])
    found = g.random.choice([tf.unique, tf.unique_with_counts])(x)
    other = tf.unique(x) if g.likely() else tf.unique(g.i)
    idx = g.random.choice([found, found, other]).idx
    if g.random.random() < 0.3:
        idx = tf.reshape(idx, tf.shape(g.i))
    if g.random.random() < 0.1:
        return [found.y, idx]
    table = g.random.choice([g.constant(7, 4), g.constant(7)])
    y = tf.gather(table, numbers_of(g, found.y))
    if g.random.random() < 0.2:
        y = g.random.choice([y - tf.reduce_max(y), y[::-1], y * y, tf.cumsum(y)])
    return tf.gather(y, idx)


@step
def unique_parts(g: Graph) -> Any:
    one, other = two(g)
    ids = numbers_of(g, one.values) if g.likely() else one.values
    found = tf.unique(ids)
    y = tf.gather(g.constant(7, 4), numbers_of(g, found.y))
    if g.likely():
        return one._replace(values=tf.gather(y, found.idx))
    ops = tf.raw_ops
    way = g.random.choice(
        [
            ops.SparseSegmentSumWithNumSegments,
            ops.SparseSegmentSqrtNWithNumSegments,
        ]
    )
    return way(
        data=y,
        indices=found.idx,
        segment_ids=other.owners,
        num_segments=tf.cast(one.count, tf.int32),
    )


@step
def numbers_of_rows(g: Graph) -> Any:
    """The number of each row, to look up its own, or as a value."""
    x = g.f
    count = tf.shape(x)[0]
    numbers = tf.range(count)
    places = tf.stack([numbers, tf.cast(g.i, tf.int32) % 2], 1)
    ways = [
        lambda: tf.gather_nd(x, places),
        lambda: tf.gather_nd(x, places[::-1]),
        lambda: tf.gather(x, numbers),
        lambda: tf.cast(numbers, tf.float64),
        lambda: x * tf.cast(tf.expand_dims(numbers, 1), tf.float64),
        lambda: tf.one_hot(numbers, 4),
    ]
    return g.random.choice(ways)()
