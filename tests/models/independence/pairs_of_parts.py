"""Graphs for each rule of parts: one that keeps to its row's, and one that does not."""

from typing import Any

import numpy as np
import tensorflow as tf

from tests.models.independence.pairs import TABLE, WEIGHTS, Build, Pair, size

ops = tf.raw_ops


def _ids(words: Any) -> Any:
    return tf.strings.to_hash_bucket_fast(words, 3)


def _embedded(w: Any) -> tuple[Any, Any]:
    """The words of each text, and ragged rows of what a table has of them."""
    words = tf.strings.split(w)
    return words, words.with_flat_values(tf.gather(TABLE, _ids(words.values)))


def _other(w: Any) -> Any:
    """The words of other texts, of which there may be as many."""
    return tf.strings.split(tf.strings.regex_replace(w, "a ", "b"))


def _of_parts(function: Any) -> Build:
    """The sum of what a function makes of words, their owners and those of others."""

    def build(x: Any, i: Any, w: Any) -> Any:
        words, found = _embedded(w)
        values = function(found.values, words, _other(w))
        return tf.math.unsorted_segment_sum(
            values, words.value_rowids(), tf.size(w, tf.int64)
        )

    return build


def _summed(own: bool) -> Build:
    """A sum of embedded words, of this text or of another one."""

    def build(x: Any, i: Any, w: Any) -> Any:
        words, found = _embedded(w)
        owners = (words if own else _other(w)).value_rowids()
        count = tf.size(w, tf.int64)
        return tf.math.unsorted_segment_sum(found.values, owners, count)

    return build


def _repeated(own: bool) -> Build:
    def build(x: Any, i: Any, w: Any) -> Any:
        words = tf.strings.split(w)
        lengths = (words if own else _other(w)).row_lengths()
        found = words.with_flat_values(tf.repeat(x, lengths, axis=0))
        return tf.reduce_max(found, 1)

    return build


def _spread(lengths: Any, wide: Any) -> Any:
    """As tf.repeat has it, but with a width of its own."""
    steps = tf.range(tf.reduce_max(wide))
    mask = tf.cast(tf.expand_dims(lengths, -1), tf.int64) > steps
    return tf.reduce_sum(tf.cast(mask, tf.float64), 1) / size(steps)


def _sparse(w: Any) -> Any:
    words = tf.strings.split(w).to_sparse()
    return tf.SparseTensor(words.indices, _ids(words.values), words.dense_shape)


def _looked_up(safe: bool, weighted: bool = False) -> Build:
    """The mean of embedded words; safe: also of a text without words."""

    def build(x: Any, i: Any, w: Any) -> Any:
        ids = _sparse(w)
        values = tf.cast(ids.values, tf.float64)
        weights = tf.SparseTensor(ids.indices, values, ids.dense_shape)
        given = weights if weighted else None
        if safe:
            return tf.nn.safe_embedding_lookup_sparse(tf.constant(TABLE), ids, given)
        return tf.nn.embedding_lookup_sparse(tf.constant(TABLE), ids, given, "mean")

    return build


def _dense(x: Any, width: Any, last: Any) -> Any:
    """Numbers at the places of those that are not zero."""
    at = tf.where(tf.not_equal(x, 0))
    values = tf.gather_nd(last, at)
    shape = tf.stack([tf.shape(x, tf.int64)[0], width])
    return tf.sparse.to_dense(tf.SparseTensor(at, values, shape))


def _features(i: Any) -> Any:
    """Numbers of serialized examples, of which none has any."""
    texts = tf.gather(tf.constant([b"", b""]), i % 2)
    return tf.io.parse_example(texts, {"a": tf.io.VarLenFeature(tf.int64)})


def _sparse_rows(x: Any) -> Any:
    at = tf.where(x > 0)
    return tf.SparseTensor(at, tf.gather_nd(x, at), tf.shape(x, tf.int64))


def _reshaped(*target: int) -> Build:
    def build(x: Any, i: Any, w: Any) -> Any:
        at = tf.where(x > 0)
        shape = tf.shape(x, tf.int64)
        count = tf.stack([shape[0], *target[1:]]) if not target[0] else target
        found = tf.sparse.reshape(
            tf.SparseTensor(at, tf.gather_nd(x, at), shape), count
        )
        wide = tf.reshape(tf.sparse.to_dense(found), [-1, 4])
        return tf.reduce_sum(wide, 1)

    return build


def _crossed(w: Any, last: Any) -> Any:
    """Words of a text, crossed with a column."""
    words = tf.strings.split(w).to_sparse()
    found = ops.SparseCross(
        indices=[words.indices],
        values=[words.values],
        shapes=[words.dense_shape],
        dense_inputs=[last[:, None]],
        hashed_output=True,
        num_buckets=3,
        hash_key=1,
        out_type=tf.int64,
        internal_type=tf.string,
    )
    ids = tf.SparseTensor(found.output_indices, found.output_values, found.output_shape)
    return tf.nn.safe_embedding_lookup_sparse(tf.constant(TABLE), ids)


def _unique(x: Any, idx: Any = None) -> Any:
    found = tf.unique(x)
    return tf.gather(tf.gather(TABLE, found.y % 3), found.idx if idx is None else idx)


def _of_chosen(own: bool) -> Build:
    """How many long words a text has, by the places of its words or of others."""

    def build(x: Any, i: Any, w: Any) -> Any:
        words = tf.strings.split(w)
        chosen = words if own else _other(w)
        at = tf.reshape(tf.where(tf.strings.length(chosen.values) > 1), [-1])
        owners = tf.gather(words.value_rowids(), at)
        ones = tf.ones_like(owners, tf.float64)
        return tf.math.unsorted_segment_sum(ones, owners, tf.size(w))

    return build


def _of_rows(own: bool) -> Build:
    """Some rows, and nothing of the others; or where others are."""

    def build(x: Any, i: Any, w: Any) -> Any:
        at = tf.squeeze(tf.where(i > 2), [1])
        owners = at if own else tf.squeeze(tf.where(i > 3), [1])
        return tf.math.unsorted_segment_sum(tf.gather(x, at), owners, tf.size(i))

    return build


PARTS: dict[str, Pair] = {
    "a sum of parts": Pair(_summed(True), _summed(False)),
    "a mean of parts": Pair(
        lambda x, i, w: tf.reduce_mean(_embedded(w)[1], 1),
        lambda x, i, w: tf.reduce_mean(
            tf.RaggedTensor.from_row_splits(
                _embedded(w)[1].values, _other(w).row_splits, validate=False
            ),
            1,
        ),
    ),
    "a number of rows that a row decides": Pair(
        _looked_up(True),
        lambda x, i, w: tf.math.segment_sum(
            _embedded(w)[1].values, tf.strings.split(w).value_rowids()
        ),
    ),
    "parts by themselves": Pair(
        _of_parts(lambda v, own, other: tf.nn.softmax(v @ WEIGHTS)),
        _of_parts(lambda v, own, other: tf.nn.softmax(v @ WEIGHTS, 0)),
    ),
    "parts beside parts": Pair(
        _of_parts(lambda v, own, other: v + tf.gather(TABLE, _ids(own.values))),
        _of_parts(lambda v, own, other: v + tf.gather(TABLE, _ids(other.values))),
    ),
    "as many as parts": Pair(
        _of_parts(
            lambda v, own, other: (
                v + tf.fill(tf.concat([tf.shape(own.values), [1]], 0), np.float64(2))
            )
        ),
        _of_parts(
            lambda v, own, other: (
                v + tf.fill(tf.concat([tf.shape(other.values), [1]], 0), np.float64(2))
            )
        ),
    ),
    "the number of parts as a value": Pair(
        _of_parts(lambda v, own, other: v / np.float64(3)),
        _of_parts(lambda v, own, other: v / size(own.values)),
    ),
    "the number of bounds": Pair(
        lambda x, i, w: tf.fill(
            [tf.shape(tf.strings.split(w).row_splits)[0] - 1, 2], 1.0
        ),
        lambda x, i, w: x / size(tf.strings.split(w).row_splits),
    ),
    "what is repeated for parts": Pair(_repeated(True), _repeated(False)),
    "the longest row": Pair(
        lambda x, i, w: tf.reduce_sum(_embedded(w)[1], 1),
        lambda x, i, w: _spread(
            tf.strings.split(w).row_lengths(), tf.strings.split(w).row_lengths()
        ),
    ),
    "the numbers of rows": Pair(
        lambda x, i, w: tf.reduce_sum(_embedded(w)[1], 1),
        lambda x, i, w: tf.one_hot(tf.range(tf.size(i)), 3),
    ),
    "what a part's row has": Pair(
        lambda x, i, w: _of_parts(
            lambda v, own, other: tf.gather(x, own.value_rowids())
        )(x, i, w),
        lambda x, i, w: _of_parts(
            lambda v, own, other: tf.gather(x, tf.range(tf.size(own.values)))
        )(x, i, w),
    ),
    "some parts of a row": Pair(_of_chosen(True), _of_chosen(False)),
    "some rows": Pair(_of_rows(True), _of_rows(False)),
    "a look-up of several words": Pair(_looked_up(True), _looked_up(False)),
    "a weighted look-up": Pair(_looked_up(True, True), _looked_up(False, True)),
    "places of numbers": Pair(
        lambda x, i, w: _dense(x, 4, x), lambda x, i, w: _dense(x, 4, x[::-1])
    ),
    "a sparse tensor that is filled up": Pair(
        lambda x, i, w: _dense(x, 4, x),
        lambda x, i, w: tf.sparse.to_dense(_sparse(w)),
    ),
    "a sparse tensor in another shape": Pair(_reshaped(0, 2, 2), _reshaped(-1, 2)),
    "features of any length": Pair(
        lambda x, i, w: tf.nn.safe_embedding_lookup_sparse(
            tf.constant(TABLE), _features(i)["a"]
        ),
        lambda x, i, w: tf.sparse.to_dense(_features(i)["a"]),
    ),
    "a product of sparse rows": Pair(
        lambda x, i, w: tf.sparse.sparse_dense_matmul(
            _sparse_rows(x), tf.constant(WEIGHTS)
        ),
        lambda x, i, w: tf.sparse.sparse_dense_matmul(_sparse_rows(x), tf.transpose(x)),
    ),
    "a product as wide as the longest row": Pair(
        lambda x, i, w: tf.sparse.sparse_dense_matmul(
            _sparse_rows(x), tf.constant(WEIGHTS)
        ),
        lambda x, i, w: tf.sparse.sparse_dense_matmul(
            tf.sparse.map_values(tf.cast, _sparse(w), tf.float64), tf.constant(WEIGHTS)
        ),
    ),
    "crossed columns": Pair(
        lambda x, i, w: _crossed(w, i), lambda x, i, w: _crossed(w, i[::-1])
    ),
    "unique values that are looked up": Pair(
        lambda x, i, w: _unique(i), lambda x, i, w: _unique(i, tf.unique(-i).idx)
    ),
    "unique values together": Pair(
        lambda x, i, w: _unique(i),
        lambda x, i, w: tf.gather(tf.cumsum(tf.unique(i).y), tf.unique(i).idx),
    ),
    "unique floats": Pair(
        lambda x, i, w: _unique(i),
        lambda x, i, w: tf.gather(
            1 / tf.unique(x[:, 0] * 0).y, tf.unique(x[:, 0] * 0).idx
        ),
    ),
    "a place of each row": Pair(
        lambda x, i, w: tf.gather_nd(x, tf.stack([_numbers(i), i % 4], 1)),
        lambda x, i, w: tf.gather_nd(x, tf.stack([_numbers(i), i[::-1] % 4], 1)),
    ),
    "numbers as a sparse tensor": Pair(
        lambda x, i, w: _columns(x, _numbers(i)),
        lambda x, i, w: _columns(x, _numbers(i)[::-1]),
    ),
    "lengths below zero": Pair(
        _repeated(True), lambda x, i, w: _below_zero(x, i % 3 - 1)
    ),
    "a table's size": Pair(
        lambda x, i, w: i + _entries(), lambda x, i, w: tf.cumsum(i + _entries())
    ),
}


def _numbers(i: Any) -> Any:
    return tf.range(tf.size(i, tf.int64))


def _columns(x: Any, numbers: Any) -> Any:
    """All numbers of each row, as a linear model of buckets has them."""
    owners = tf.reshape(tf.tile(tf.expand_dims(numbers, 1), [1, 4]), [-1])
    columns = tf.tile(tf.range(4, dtype=tf.int64), tf.shape(x)[:1])
    at = tf.transpose(tf.stack([owners, columns]))
    ids = tf.cast(tf.reshape(x, [-1]), tf.int64) % 3
    given = tf.SparseTensor(at, ids, tf.shape(x, tf.int64))
    return tf.nn.safe_embedding_lookup_sparse(tf.constant(TABLE), given)


def _below_zero(x: Any, lengths: Any) -> Any:
    """Rows that are repeated as often as lengths say, some of which are negative."""
    bounds = tf.concat([[0], tf.cumsum(lengths)], 0)
    given = bounds[1:] - bounds[:-1]
    return tf.RaggedTensor.from_row_splits(
        tf.repeat(x, given, axis=0), bounds, validate=False
    ).to_tensor(shape=[None, 2, 4])


def _entries() -> Any:
    table = ops.HashTableV2(key_dtype=tf.string, value_dtype=tf.int64)
    return ops.LookupTableSizeV2(table_handle=table)
