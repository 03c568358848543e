"""Steps that make sparse tensors of rows, and what feature columns make of them."""

from typing import Any

import tensorflow as tf

from tests.models.independence.graphs import Graph, Parts, Sparse, step
from tests.models.independence.steps_of_items import numbers_of


def sparse(one: Sparse, values: Any = None) -> Any:
    given = one.values if values is None else values
    return tf.SparseTensor(one.indices, given, one.shape)


def two(g: Graph) -> tuple[Sparse, Sparse]:
    """The same sparse tensor twice, or others."""
    one = g.s
    return one, one if g.likely() else g.s


def of(found: Any) -> Sparse:
    return Sparse(found.indices, found.values, found.dense_shape)


@step
def split_to_sparse(g: Graph) -> Any:
    found = tf.raw_ops.StringSplitV2(input=g.t, sep=" ")
    return Sparse(found.indices, found.values, found.shape)


@step
def ragged_to_sparse(g: Graph) -> Any:
    one = g.p
    other = one if g.likely() else g.p
    make = tf.RaggedTensor.from_row_splits
    return of(make(one.values, other.splits, validate=False).to_sparse())


@step
def dense_to_sparse(g: Graph) -> Any:
    """What feature columns make of a dense tensor."""
    x = g.random.choice([g.t[:, None], g.i[:, None], g.f])
    nothing = tf.constant("" if x.dtype == tf.string else 0, x.dtype)
    at = tf.where(tf.not_equal(x, nothing))
    shape = tf.shape(x if g.likely() else g.f, tf.int64)
    return Sparse(at, tf.gather_nd(x, at), shape)


def _example(*numbers: int) -> bytes:
    given = tf.train.Feature(int64_list=tf.train.Int64List(value=numbers))
    features = tf.train.Features(feature={"n": given, "m": given})
    data: bytes = tf.train.Example(features=features).SerializeToString()
    return data


EXAMPLES = [_example(), _example(3), _example(1, 2), _example(0, 5, 0), b""]


@step
def columns_to_sparse(g: Graph) -> Any:
    """All elements of a tensor with their places, as a linear model has buckets."""
    x = g.f
    rows, columns = tf.shape(x)[0], x.shape[1]
    numbers = tf.range(rows if g.likely() else tf.shape(x)[1])
    owners = tf.reshape(tf.tile(tf.expand_dims(numbers, 1), [1, columns]), [-1])
    places = tf.tile(tf.range(columns), [rows])
    pair = [owners, places] if g.likely() else [places, owners]
    at = tf.cast(tf.transpose(tf.stack(pair)), tf.int64)
    values = tf.reshape(x if g.likely() else g.f, [-1])
    return Sparse(at, tf.cast(values, tf.int64) % 7, tf.shape(x, tf.int64))


@step
def parse_to_sparse(g: Graph) -> Any:
    """Features of any length, and of other examples."""
    texts = tf.gather(tf.constant(EXAMPLES), g.i % len(EXAMPLES))
    form = tf.io.VarLenFeature(tf.int64)
    other = tf.io.RaggedFeature(tf.int64, row_splits_dtype=tf.int64)
    found = tf.io.parse_example(texts, {"n": form, "m": form, "r": other})
    ragged = tf.io.parse_example(texts, {"n": other})["n"]
    owners = ragged.value_rowids()
    listed = Parts(ragged.values, owners, ragged.row_splits, ragged.nrows())
    return [of(found["n"]), of(found["m"]), listed]


@step
def change_sparse(g: Graph) -> Any:
    one, other = two(g)
    ids = numbers_of(g, one.values)
    shape = other.shape
    ways = [lambda: ids, lambda: ids - 2, lambda: ids + tf.reduce_max(ids)]
    return Sparse(one.indices, g.random.choice(ways)(), shape)


@step
def mix_sparse(g: Graph) -> Any:
    return Sparse(g.s.indices, g.s.values, g.s.shape)


@step
def retain(g: Graph) -> Any:
    """Those of its values of which something holds."""
    one, other = two(g)
    keep = numbers_of(g, other.values) > 2
    places = tf.reshape(tf.where(keep), [-1])
    values = one.values if g.likely() else g.s.values
    return Sparse(tf.gather(one.indices, places), tf.gather(values, places), one.shape)


@step
def fill_empty_rows(g: Graph) -> Any:
    one, other = two(g)
    default = tf.zeros([], one.values.dtype)
    if g.random.random() < 0.1:
        default = one.values[0]
    found = tf.raw_ops.SparseFillEmptyRows(
        indices=one.indices,
        values=one.values,
        dense_shape=other.shape,
        default_value=default,
    )
    flags = tf.cast(found.empty_row_indicator, tf.int64)
    filled = Sparse(found.output_indices, found.output_values, one.shape)
    return [filled, flags] if g.likely() else [filled, found.reverse_index_map]


@step
def reshape_sparse(g: Graph) -> Any:
    one = g.s
    first, last = one.shape[0], one.shape[1]
    targets = [
        [first, last],
        [first, -1],
        [-1, last],
        [-1, 1],
        [-1, 2],
        [first, 2, -1],
        [first * last, 1],
        [-1, first],
    ]
    target = tf.cast(tf.stack(g.random.choice(targets)), tf.int64)
    found = tf.raw_ops.SparseReshape(
        input_indices=one.indices, input_shape=one.shape, new_shape=target
    )
    return Sparse(found.output_indices, one.values, found.output_shape)


@step
def fill_up_sparse(g: Graph) -> Any:
    one, other = two(g)
    shapes = [other.shape, tf.stack([other.shape[0], 4]), tf.constant([g.height, 4])]
    shape = tf.cast(g.random.choice(shapes), tf.int64)
    return tf.raw_ops.SparseToDense(
        sparse_indices=one.indices,
        output_shape=shape,
        sparse_values=one.values,
        default_value=tf.zeros([], one.values.dtype),
        validate_indices=g.likely(),
    )


@step
def look_up_sparse(g: Graph) -> Any:
    """What an embedding column computes."""
    one, other = two(g)
    ids = sparse(one, numbers_of(g, one.values) - 1)
    weights = None
    if g.random.random() < 0.4:
        weights = sparse(other, tf.cast(numbers_of(g, other.values), tf.float64))
    table = g.constant(7, 4)
    how = g.random.choice(["mean", "sqrtn", "sum"])
    if g.random.random() < 0.2:
        return tf.nn.embedding_lookup_sparse(table, ids, weights, how)
    default = g.random.choice([None, 0, 3])
    look_up = tf.nn.safe_embedding_lookup_sparse
    return look_up(table, ids, weights, how, default_id=default)


@step
def multiply_sparse(g: Graph) -> Any:
    one, other = two(g)
    values = tf.cast(numbers_of(g, one.values), tf.float64)
    at = tf.concat([other.indices[:, :1], other.indices[:, 1:] % 4], 1)
    at = other.indices if g.likely() else at
    found = tf.SparseTensor(at, values, other.shape)
    turned = g.random.random() < 0.2
    weights = g.random.choice([g.constant(4, 4), g.constant(1, 4), g.f])
    return tf.sparse.sparse_dense_matmul(found, weights, adjoint_a=turned)


@step
def cross_sparse(g: Graph) -> Any:
    one, other = two(g)
    columns = [one] if g.random.random() < 0.5 else [one, other]
    dense = [g.random.choice([g.t, g.i])[:, None]] if g.likely() else []
    found = tf.raw_ops.SparseCross(
        indices=[c.indices for c in columns],
        values=[
            c.values if c.values.dtype == tf.string else tf.cast(c.values, tf.int64)
            for c in columns
        ],
        shapes=[c.shape for c in columns],
        dense_inputs=dense,
        hashed_output=True,
        num_buckets=20,
        hash_key=7,
        out_type=tf.int64,
        internal_type=tf.string,
    )
    return Sparse(found.output_indices, found.output_values, found.output_shape)


@step
def bare_sparse(g: Graph) -> Any:
    one = g.s
    return [g.random.choice([one.values, one.indices, one.shape, one.indices[:, 0]])]
