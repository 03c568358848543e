"""Graphs for each rule: one whose rows are independent, and one whose rows are not."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

Build = Callable[[Any, Any, Any], Any]  # from x [n, 4], i [n] and w [n], a text


class Pair(NamedTuple):
    """A graph whose rows are independent, and one whose rows are not."""

    good: Build
    bad: Build


WEIGHTS = np.arange(16, dtype=np.float64).reshape(4, 4)
TABLE = np.arange(12, dtype=np.float64).reshape(3, 4)


def size(x: Any) -> Any:
    """The size of the batch, as a number."""
    return tf.cast(tf.shape(x)[0], tf.float64)


def sizes(x: Any, *shape: int) -> Any:
    """The number of columns, and the size of the batch."""
    return tf.reshape(tf.shape(x)[::-1], shape)


def total(numbers: Any) -> Any:
    return tf.cast(tf.reduce_sum(numbers), tf.float64)


def _lookup(default: Callable[[Any], Any]) -> Build:
    def build(x: Any, i: Any, w: Any) -> Any:
        table = tf.raw_ops.HashTableV2(key_dtype=tf.string, value_dtype=tf.int64)
        return tf.raw_ops.LookupTableFindV2(
            table_handle=table, keys=w, default_value=default(i)
        )

    return build


def _norm(x: Any, is_training: bool) -> Any:
    ones = np.ones(4, np.float32)
    pixels = tf.reshape(tf.cast(x, tf.float32), [-1, 1, 1, 4])
    given: Any = [] if is_training else ones
    return tf.raw_ops.FusedBatchNormV3(
        x=pixels,
        scale=ones,
        offset=ones,
        mean=given,
        variance=given,
        is_training=is_training,
    ).y


def _layer_norm(x: Any, i: Any, w: Any) -> Any:
    """Layer normalisation as Keras 2 writes it: each row is a channel."""
    rows = tf.shape(x)[0]
    pixels = tf.reshape(tf.cast(x, tf.float32), [1, rows, 4, 1])
    found = tf.raw_ops.FusedBatchNormV3(
        x=pixels,
        scale=tf.ones([rows]),
        offset=tf.zeros([rows]),
        mean=[],
        variance=[],
        is_training=True,
        data_format="NCHW",
    ).y
    return tf.reshape(found, [rows, 4])


def _counted(**lengths: int) -> Build:
    """How often each row has each number: Keras's multi-hot of a row of words."""

    def build(x: Any, i: Any, w: Any) -> Any:
        numbers = tf.stack([i, i + 1], 1)
        return tf.math.bincount(numbers, axis=-1, **lengths)

    return build


def _features(feature: Any) -> Build:
    return lambda x, i, w: tf.io.parse_example(w, {"a": feature})["a"]


def _parts(width: int | None) -> Build:
    return lambda x, i, w: tf.strings.split(w, "|").to_tensor(shape=[None, width])


def _characters(w: Any, offsets: bool, own: bool) -> Any:
    """The characters of each text, padded to three; or cut as another text's are."""
    decode = (
        tf.raw_ops.UnicodeDecodeWithOffsets if offsets else tf.raw_ops.UnicodeDecode
    )
    found = decode(input=w, input_encoding="UTF-8")
    other = decode(input=tf.strings.join([w, w]), input_encoding="UTF-8")
    splits = (found if own else other).row_splits
    return tf.raw_ops.RaggedTensorToTensor(
        shape=[-1, 3],
        values=found.char_values,
        default_value=0,
        row_partition_tensors=[splits],
        row_partition_types=["ROW_SPLITS"],
    )


def _counts(w: Any, own: bool) -> Any:
    """How often each text has a number; or a number of another text."""
    parts = tf.strings.split(w)
    other = tf.strings.split(tf.strings.upper(w))
    return tf.raw_ops.RaggedBincount(
        splits=(parts if own else other).row_splits,
        values=tf.strings.length(parts.values),
        size=9,
        weights=tf.constant([], tf.float64),
        binary_output=False,
    )


def _pairs(w: Any, own: bool) -> Any:
    """Pairs of words, hashed, padded to three; or cut as another text's are."""
    words = tf.strings.split(w)
    other = tf.strings.split(tf.strings.join([w, w], " "))
    pairs = tf.raw_ops.StringNGrams(
        data=words.values,
        data_splits=(words if own else other).row_splits,
        separator=" ",
        ngram_widths=[2],
        left_pad="",
        right_pad="",
        pad_width=0,
        preserve_short_sequences=True,
    )
    return tf.raw_ops.RaggedTensorToTensor(
        shape=[-1, 3],
        values=pairs.ngrams,
        default_value="",
        row_partition_tensors=[pairs.ngrams_splits],
        row_partition_types=["ROW_SPLITS"],
    )


@tf.function  # type: ignore[untyped-decorator]
def _words(w: Any) -> Any:
    parts = tf.strings.split(w)
    return parts.values, parts.value_rowids(), parts.nrows()


def _padded(w: Any, own: bool) -> Any:
    """Words padded to three, which a function that is called twice has cut."""
    values, owners, count = _words(w)
    other = _words(tf.strings.upper(w))
    return tf.raw_ops.RaggedTensorToTensor(
        shape=[-1, 3],
        values=values,
        default_value="",
        row_partition_tensors=[count, owners if own else other[1]],
        row_partition_types=["FIRST_DIM_SIZE", "VALUE_ROWIDS"],
    )


def _pushed(x: Any) -> Any:
    """What is pushed to a list, and taken off it."""
    ops = tf.raw_ops
    empty = ops.EmptyTensorList(
        element_shape=-1, max_num_elements=1, element_dtype=x.dtype
    )
    full = ops.TensorListPushBack(input_handle=empty, tensor=x)
    return ops.TensorListPopBack(
        input_handle=full, element_shape=-1, element_dtype=x.dtype
    ).tensor


def _length(x: Any) -> Any:
    """The length of a list of a tensor's parts."""
    parts = tf.raw_ops.TensorListFromTensor(tensor=x, element_shape=[4])
    return tf.cast(tf.raw_ops.TensorListLength(input_handle=parts), tf.float64)


def _switched(x: Any, choice: Any) -> Any:
    """A condition as TensorFlow 1 has it."""
    off, on = tf.raw_ops.Switch(data=x, pred=choice)
    return tf.raw_ops.Merge(inputs=[-off, on]).output


def _pieces(turned: bool) -> Build:
    """Parts of two texts, which the same function splits; turned: of the other one."""

    split = tf.function(
        lambda text: tf.raw_ops.StringSplitV2(input=text, sep="|"), autograph=False
    )

    def build(x: Any, i: Any, w: Any) -> Any:
        mine = split(w)
        others = split(tf.strings.lower(w))
        return tf.raw_ops.RaggedTensorToTensor(
            shape=[-1, 3],
            values=others.values if turned else mine.values,
            default_value="",
            row_partition_tensors=[mine.shape[0], mine.indices[:, 0]],
            row_partition_types=["FIRST_DIM_SIZE", "VALUE_ROWIDS"],
        )

    return build


def _bounds(numbers: Any) -> Any:
    """4, for each of these numbers."""
    return tf.minimum(tf.maximum(numbers, 4), 4)


def _differences(a: Any, b: Any) -> Any:
    """What a number adds to a total, or by how much it is above another."""
    ends = tf.concat([[0], tf.cumsum(tf.cast(a, tf.int32))], 0)[1:]
    return ends - tf.concat([[0], tf.cumsum(tf.cast(b, tf.int32))], 0)[:-1]


def _rounded(w: Any, kind: Any) -> Any:
    """Words padded to three; where they begin is converted, and converted back."""
    words = tf.strings.split(w)
    return tf.raw_ops.RaggedTensorToTensor(
        shape=[-1, 3],
        values=words.values,
        default_value="",
        row_partition_tensors=[tf.cast(tf.cast(words.row_splits, kind), tf.int64)],
        row_partition_types=["ROW_SPLITS"],
    )


def _column(x: Any, place: Any) -> Any:
    """A column, whose entry has a mask that does not count."""
    return tf.raw_ops.StridedSlice(
        input=tf.tile(x, [1, 2]),
        begin=tf.stack([0, place]),
        end=[0, 0],
        strides=[1, 1],
        begin_mask=3,
        end_mask=1,
        shrink_axis_mask=2,
    )


def _read(x: Any, own: bool) -> Any:
    """A loop over rows, each of which reads itself, or the first."""
    first = tf.constant(0)
    count = tf.shape(x)[0]
    given = tf.TensorArray(x.dtype, count).unstack(x)

    def turn(i: Any, out: Any) -> Any:
        return i + 1, out.write(i, given.read(i if own else first))

    start = first, tf.TensorArray(x.dtype, count)
    return tf.while_loop(lambda i, _: i < count, turn, start)[1].stack()


def _rank(x: Any) -> Any:
    return tf.cast(tf.raw_ops.Rank(input=x), tf.float64)


def _scan(axis: int) -> Build:
    def build(x: Any, i: Any, w: Any) -> Any:
        turned = tf.transpose(x) if axis else x
        found = tf.scan(lambda a, b: a * 0.5 + b, turned)
        return tf.transpose(found) if axis else found

    return build


def _scores(x: Any, others: Any) -> Any:
    """The product of each row with each, of which its own is used."""
    return tf.linalg.diag_part(tf.tanh(tf.matmul(x, others, transpose_b=True) / 3.0))


PAIRS: dict[str, Pair] = {
    "two towers": Pair(
        lambda x, i, w: _scores(x @ WEIGHTS, x), lambda x, i, w: _scores(x, x[::-1])
    ),
    "a diagonal beside the main one": Pair(
        lambda x, i, w: tf.linalg.tensor_diag_part(x @ tf.transpose(x)),
        lambda x, i, w: tf.linalg.diag_part(x @ tf.transpose(x), k=-1),
    ),
    "pairs in a softmax": Pair(
        lambda x, i, w: tf.linalg.diag_part(x @ tf.transpose(x) + 1.0),
        lambda x, i, w: tf.linalg.diag_part(tf.nn.softmax(x @ tf.transpose(x))),
    ),
    "element by element": Pair(lambda x, i, w: x * x + 1, lambda x, i, w: x + x[:1]),
    "the size as a value": Pair(
        lambda x, i, w: tf.fill([tf.shape(x)[0], 2], 1.0), lambda x, i, w: x / size(x)
    ),
    "the place as a value": Pair(
        lambda x, i, w: x * tf.cast(tf.range(4), tf.float64),
        lambda x, i, w: x * tf.reshape(tf.range(size(x)), [-1, 1]),
    ),
    "Sum": Pair(
        lambda x, i, w: tf.reduce_sum(x, 1),
        lambda x, i, w: x - tf.reduce_sum(x, 0, keepdims=True),
    ),
    "Mean": Pair(
        lambda x, i, w: x - tf.reduce_mean(x, -1, keepdims=True),
        lambda x, i, w: x - tf.reduce_mean(x),
    ),
    "Max": Pair(
        lambda x, i, w: x / tf.reduce_max(x, 1, keepdims=True),
        lambda x, i, w: x / tf.reduce_max(x),
    ),
    "Softmax": Pair(
        lambda x, i, w: tf.nn.softmax(x), lambda x, i, w: tf.nn.softmax(x, 0)
    ),
    "Cumsum": Pair(lambda x, i, w: tf.cumsum(x, 1), lambda x, i, w: tf.cumsum(x, 0)),
    "ArgMax": Pair(
        lambda x, i, w: tf.argmax(x, 1),
        lambda x, i, w: tf.gather(tf.argmax(x, 0), i % 4),
    ),
    "TopK": Pair(
        lambda x, i, w: tf.math.top_k(x, 2).values,
        lambda x, i, w: tf.transpose(tf.math.top_k(tf.transpose(x), 1).values),
    ),
    "Sort": Pair(lambda x, i, w: tf.sort(x, 1), lambda x, i, w: tf.sort(x, 0)),
    "Reverse": Pair(
        lambda x, i, w: tf.reverse(x, [1]), lambda x, i, w: tf.reverse(x, [0])
    ),
    "MatMul": Pair(
        lambda x, i, w: x @ WEIGHTS, lambda x, i, w: x @ tf.transpose(x) @ x
    ),
    "BatchMatMul": Pair(
        lambda x, i, w: x[:, :, None] @ x[:, None, :],
        lambda x, i, w: (tf.transpose(x)[None] @ x[None])[0] @ WEIGHTS + x,
    ),
    "Einsum": Pair(
        lambda x, i, w: tf.einsum("bi,ij->bj", x, WEIGHTS),
        lambda x, i, w: tf.einsum("bi,ci->b", x, x),
    ),
    "BiasAdd": Pair(
        lambda x, i, w: tf.nn.bias_add(x, WEIGHTS[0]),
        lambda x, i, w: tf.transpose(tf.nn.bias_add(tf.transpose(x), x[:, 0])),
    ),
    "Conv1D": Pair(
        lambda x, i, w: tf.nn.conv1d(x[:, :, None], WEIGHTS[:2, :1, None], 1, "SAME"),
        lambda x, i, w: tf.nn.conv1d(x[None], WEIGHTS[None], 1, "SAME")[0],
    ),
    "FusedBatchNorm": Pair(
        lambda x, i, w: _norm(x, False), lambda x, i, w: _norm(x, True)
    ),
    "layer normalisation": Pair(_layer_norm, lambda x, i, w: _norm(x, True)),
    "Reshape": Pair(
        lambda x, i, w: tf.reshape(x, [-1, 2, 2]),
        lambda x, i, w: tf.reshape(tf.reshape(x, [4, -1]), [-1, 4]),
    ),
    "Reshape and back": Pair(
        lambda x, i, w: tf.reshape(tf.tanh(tf.reshape(x, [-1])), tf.shape(x)),
        lambda x, i, w: tf.reshape(tf.transpose(x), tf.shape(x)),
    ),
    "ExpandDims": Pair(
        lambda x, i, w: tf.expand_dims(x, 1), lambda x, i, w: tf.expand_dims(x, 0)
    ),
    "Squeeze": Pair(
        lambda x, i, w: tf.squeeze(x[:, None], [1]),
        lambda x, i, w: tf.squeeze(x[:, None]),
    ),
    "Transpose": Pair(
        lambda x, i, w: tf.transpose(x[:, None], [0, 2, 1]),
        lambda x, i, w: x + tf.transpose(x),
    ),
    "StridedSlice": Pair(lambda x, i, w: x[:, 1:3], lambda x, i, w: x[::-1]),
    "StridedSlice of one": Pair(lambda x, i, w: x[:, 0], lambda x, i, w: x - x[0]),
    "StridedSlice of a constant": Pair(
        lambda x, i, w: x * tf.cast(tf.range(tf.shape(x)[1])[None, :], tf.float64),
        lambda x, i, w: x * tf.cast(tf.range(tf.shape(x)[0])[:, None], tf.float64),
    ),
    "StridedSlice of a size": Pair(
        lambda x, i, w: x / tf.cast(tf.shape(x)[1:][tf.newaxis], tf.float64),
        lambda x, i, w: x / tf.cast(tf.shape(x)[tf.newaxis][:, :1], tf.float64),
    ),
    "Gather of sizes": Pair(
        lambda x, i, w: x / tf.cast(tf.gather(tf.shape(x), [1]), tf.float64),
        lambda x, i, w: x / total(tf.gather(sizes(x, 1, 2), [0])),
    ),
    "Pack of sizes": Pair(
        lambda x, i, w: tf.reshape(x, tf.stack([tf.shape(x)[0], 2, 2])),
        lambda x, i, w: x / total(tf.stack([sizes(x, 2), sizes(x, 2)], 1)[:1] - 4),
    ),
    "Concat of sizes": Pair(
        lambda x, i, w: tf.reshape(x, tf.concat([tf.shape(x)[:1], [2, 2]], 0)),
        lambda x, i, w: (
            x / total(tf.reshape(tf.concat([sizes(x, 2, 1)] * 2, 1), [-1])[2])
        ),
    ),
    "a sum of sizes": Pair(
        lambda x, i, w: tf.reshape(x, tf.shape(x) + 0),
        lambda x, i, w: (
            x / total(tf.reshape(sizes(x, 2, 1) + tf.zeros([2], tf.int32), [-1])[2:3])
        ),
    ),
    "Prod of sizes": Pair(
        lambda x, i, w: tf.reshape(x, [-1, tf.reduce_prod(tf.shape(x)[1:])]),
        lambda x, i, w: x / total(tf.reduce_prod(sizes(x, 1, 2) * [[0, 1]], 0)),
    ),
    "Slice": Pair(
        lambda x, i, w: tf.slice(x, [0, 1], [-1, 2]),
        lambda x, i, w: x + tf.slice(x, [0, 0], [1, 4]),
    ),
    "Tile": Pair(
        lambda x, i, w: tf.tile(x, [1, 2]),
        lambda x, i, w: tf.tile(x, [2, 1])[: tf.shape(x)[0]],
    ),
    "Tile of a constant": Pair(
        lambda x, i, w: tf.tile(WEIGHTS[:1], [tf.shape(x)[0], 1]),
        lambda x, i, w: tf.tile(x[:1], [tf.shape(x)[0], 1]),
    ),
    "BroadcastTo": Pair(
        lambda x, i, w: tf.broadcast_to(WEIGHTS[0], tf.shape(x)),
        lambda x, i, w: tf.broadcast_to(x[0], tf.shape(x)),
    ),
    "Concat": Pair(
        lambda x, i, w: tf.concat([x, x], 1),
        lambda x, i, w: tf.concat([x, x], 0)[: tf.shape(x)[0]],
    ),
    "Pack": Pair(
        lambda x, i, w: tf.stack([x, x], 1),
        lambda x, i, w: tf.stack([x, x[::-1]], 1),
    ),
    "Unpack": Pair(
        lambda x, i, w: tf.unstack(x, axis=1)[2],
        lambda x, i, w: x + tf.unstack(x, num=1, axis=0)[0],
    ),
    "Split": Pair(
        lambda x, i, w: tf.split(x, 2, 1)[1],
        lambda x, i, w: x + tf.split(x, 1, 0)[0][:1],
    ),
    "Pad": Pair(
        lambda x, i, w: tf.pad(x, [[0, 0], [1, 1]]),
        lambda x, i, w: tf.pad(x, [[1, 0], [0, 0]])[: tf.shape(x)[0]],
    ),
    "Roll": Pair(
        lambda x, i, w: tf.concat([x[:, 1:], x[:, :1]], 1),
        lambda x, i, w: tf.roll(x, 1, 0),
    ),
    "Gather by rows": Pair(
        lambda x, i, w: tf.gather(TABLE, i % 3),
        lambda x, i, w: tf.gather(x, i % tf.shape(x, tf.int64)[0]),
    ),
    "Gather in rows": Pair(
        lambda x, i, w: tf.gather(x, [3, 1], axis=1),
        lambda x, i, w: x + tf.gather(x, [0], axis=0),
    ),
    "Gather in its own row": Pair(
        lambda x, i, w: tf.gather(x, i[:, None] % 4, batch_dims=1),
        lambda x, i, w: tf.gather(x, i[::-1, None] % 4, batch_dims=1),
    ),
    "GatherNd": Pair(
        lambda x, i, w: tf.gather_nd(TABLE, (i % 3)[:, None]),
        lambda x, i, w: tf.gather_nd(x, tf.zeros_like(i)[:, None]),
    ),
    "OneHot": Pair(
        lambda x, i, w: tf.one_hot(i, 3),
        lambda x, i, w: tf.one_hot(i, 3, axis=0)[:1] * tf.ones([tf.size(i), 1]),
    ),
    "a table": Pair(_lookup(lambda i: np.int64(0)), _lookup(tf.reduce_max)),
    "DenseBincount": Pair(
        lambda x, i, w: tf.raw_ops.DenseBincount(
            input=i[:, None], size=5, weights=np.array([], np.float64)
        ),
        lambda x, i, w: (
            x[:, :1]
            + tf.raw_ops.DenseBincount(
                input=i, size=4, weights=np.array([], np.float64)
            )
        ),
    ),
    "where": Pair(
        lambda x, i, w: tf.where(x > 0, x, -x),
        lambda x, i, w: tf.gather_nd(x, tf.where(x[:, 0] > 0)),
    ),
    "texts": Pair(
        lambda x, i, w: tf.strings.length(tf.strings.upper(w)),
        lambda x, i, w: tf.fill(tf.shape(w), tf.strings.reduce_join(w)),
    ),
    "parts of texts": Pair(_parts(3), _parts(None)),
    "characters": Pair(
        lambda x, i, w: _characters(w, False, True),
        lambda x, i, w: _characters(w, False, False),
    ),
    "characters with their places": Pair(
        lambda x, i, w: _characters(w, True, True),
        lambda x, i, w: _characters(w, True, False),
    ),
    "pairs of parts": Pair(
        lambda x, i, w: _pairs(w, True), lambda x, i, w: _pairs(w, False)
    ),
    "counts of parts": Pair(
        lambda x, i, w: _counts(w, True), lambda x, i, w: _counts(w, False)
    ),
    "parts that a function cuts": Pair(
        lambda x, i, w: _padded(w, True), lambda x, i, w: _padded(w, False)
    ),
    "bytes as numbers": Pair(
        lambda x, i, w: tf.io.decode_raw(w, tf.uint8, fixed_length=4),
        lambda x, i, w: tf.io.decode_raw(w, tf.uint8, fixed_length=tf.shape(w)[0]),
    ),
    "how many parts": Pair(
        lambda x, i, w: tf.strings.split(w).row_lengths(),
        lambda x, i, w: tf.strings.split(w).row_starts(),
    ),
    "a branch": Pair(
        lambda x, i, w: tf.cond(tf.size(WEIGHTS) > 1, lambda: x, lambda: -x),
        lambda x, i, w: tf.cond(tf.reduce_any(x > 3), lambda: x, lambda: -x),
    ),
    "a loop": Pair(
        lambda x, i, w: tf.while_loop(
            lambda n, y: n < 3, lambda n, y: (n + 1, tf.tanh(y)), [0, x]
        )[1],
        lambda x, i, w: tf.while_loop(
            lambda y: tf.reduce_max(y) > 1, lambda y: (y / 2,), [x]
        )[0],
    ),
    "a loop over a size": Pair(
        lambda x, i, w: tf.while_loop(
            lambda n, y: n < tf.shape(x)[1], lambda n, y: (n + 1, tf.tanh(y)), [0, x]
        )[1],
        lambda x, i, w: tf.while_loop(
            lambda n, y: n < tf.shape(x)[0], lambda n, y: (n + 1, tf.tanh(y)), [0, x]
        )[1],
    ),
    "a loop over time": Pair(_scan(1), _scan(0)),
    "a loop over the rows": Pair(
        lambda x, i, w: tf.map_fn(lambda row: row / tf.reduce_sum(row), x),
        lambda x, i, w: tf.map_fn(lambda row: row / tf.reduce_sum(x), x),
    ),
    "a segment": Pair(
        lambda x, i, w: tf.reduce_sum(x, 1),
        lambda x, i, w: tf.gather(tf.math.unsorted_segment_sum(x, i % 3, 3), i % 3),
    ),
    "ranks in the batch": Pair(
        lambda x, i, w: tf.argsort(x, 1),
        lambda x, i, w: tf.argsort(x[:, 0]),
    ),
    "Select by a vector": Pair(
        lambda x, i, w: tf.raw_ops.Select(condition=i > 2, x=x, y=-x),
        lambda x, i, w: tf.raw_ops.Select(condition=i[::-1] > 2, x=x, y=-x),
    ),
    "a list": Pair(lambda x, i, w: _pushed(x), lambda x, i, w: _pushed(x[::-1])),
    "the length of a list": Pair(
        lambda x, i, w: x * _length(WEIGHTS), lambda x, i, w: x / _length(x)
    ),
    "Switch and Merge": Pair(
        lambda x, i, w: _switched(x, tf.size(WEIGHTS) > 1),
        lambda x, i, w: _switched(x, tf.reduce_any(x > 3)),
    ),
    "L2Loss": Pair(
        lambda x, i, w: x * tf.nn.l2_loss(WEIGHTS), lambda x, i, w: x / tf.nn.l2_loss(x)
    ),
    "ReverseSequence": Pair(
        lambda x, i, w: tf.reverse_sequence(x, i % 5, 1, batch_axis=0),
        lambda x, i, w: tf.reverse_sequence(x, [1, 1, 1, 1], 0, batch_axis=1),
    ),
    "Rank": Pair(
        lambda x, i, w: x * _rank(tf.squeeze(x[:, None], [1])),
        lambda x, i, w: x * _rank(tf.squeeze(x)),
    ),
    "StridedSlice to a size": Pair(
        lambda x, i, w: x[:, : tf.shape(x)[1]],
        lambda x, i, w: tf.reduce_sum(x[:, : tf.shape(x)[0]], 1),
    ),
    "Slice of a size": Pair(
        lambda x, i, w: tf.slice(x, [0, 0], [-1, tf.shape(x)[1]]),
        lambda x, i, w: tf.reduce_sum(tf.slice(x, [0, 0], [-1, tf.shape(x)[0]]), 1),
    ),
    "Tile of an unknown size": Pair(
        lambda x, i, w: tf.reduce_sum(tf.tile(x[:, 1:], [1, 2]), 1),
        lambda x, i, w: tf.reduce_sum(tf.tile(x[:, 1:], [1, tf.shape(x)[0]]), 1),
    ),
    "Select between constants": Pair(
        lambda x, i, w: tf.where(i[:, None] > 2, TABLE[0], TABLE[1]),
        lambda x, i, w: tf.raw_ops.Select(condition=i > 2, x=TABLE, y=-TABLE),
    ),
    "ReverseSequence by constants": Pair(
        lambda x, i, w: tf.reverse_sequence(x, i % 5, 1, batch_axis=0),
        lambda x, i, w: tf.reverse_sequence(x, [1, 2, 3, 4], 1, batch_axis=0),
    ),
    "DenseBincount with weights": Pair(
        lambda x, i, w: tf.raw_ops.DenseBincount(
            input=i[:, None], size=5, weights=x[:, :1]
        ),
        lambda x, i, w: tf.raw_ops.DenseBincount(
            input=i[:, None], size=5, weights=TABLE[:, :1]
        ),
    ),
    "numbers that are counted, as many as there may be": Pair(
        _counted(minlength=5, maxlength=5), _counted(minlength=5, maxlength=6)
    ),
    "ParseExample": Pair(
        _features(tf.io.FixedLenFeature([2], tf.float32, [0.0, 0.0])),
        _features(
            tf.io.FixedLenSequenceFeature([], tf.float32, True, default_value=0.0)
        ),
    ),
    "a transposed convolution": Pair(
        lambda x, i, w: tf.nn.conv2d_transpose(
            x[:, :, None, None],
            WEIGHTS[:2, :1, None, None],
            [tf.shape(x)[0], 5, 1, 1],
            1,
            "VALID",
        ),
        lambda x, i, w: tf.nn.conv2d_transpose(
            x[None, :, :, None],
            WEIGHTS[:2, :1, None, None],
            [1, tf.shape(x)[0] + 1, 4, 1],
            1,
            "VALID",
        )[0, :-1],
    ),
    "FFT": Pair(
        lambda x, i, w: tf.abs(tf.signal.rfft(x)),
        lambda x, i, w: tf.transpose(tf.abs(tf.signal.rfft(tf.transpose(x), [8]))),
    ),
    "FFT of images": Pair(
        lambda x, i, w: tf.abs(tf.signal.rfft2d(tf.reshape(x, [-1, 2, 2]))),
        lambda x, i, w: tf.abs(tf.signal.rfft2d(x, [8, 4]))[:, :1],
    ),
    "a determinant": Pair(
        lambda x, i, w: tf.linalg.det(tf.reshape(x, [-1, 2, 2])),
        lambda x, i, w: x[:, 0] * tf.linalg.det(tf.matmul(x, x, transpose_a=True)),
    ),
    "singular values": Pair(
        lambda x, i, w: tf.linalg.svd(tf.reshape(x, [-1, 2, 2]), compute_uv=False),
        lambda x, i, w: x[:, :1] * tf.linalg.svd(x, compute_uv=False)[None, :1],
    ),
    "equations": Pair(
        lambda x, i, w: tf.linalg.solve(
            tf.reshape(x, [-1, 2, 2]), tf.reshape(x, [-1, 2, 2])
        ),
        lambda x, i, w: tf.linalg.solve(
            tf.reshape(x, [-1, 2, 2]), tf.reshape(x, [-1, 2, 2])[::-1]
        ),
    ),
    "texts that are joined": Pair(
        lambda x, i, w: tf.strings.reduce_join(tf.stack([w, w], 1), 1),
        lambda x, i, w: w + tf.strings.reduce_join(w),
    ),
    "parts that a function splits": Pair(_pieces(False), _pieces(True)),
    "what is added to a total": Pair(
        lambda x, i, w: tf.strings.split(w).row_lengths(),
        lambda x, i, w: _differences(i, i % 3),
    ),
    "bounds of what varies": Pair(
        lambda x, i, w: x + total(_bounds(tf.size(WEIGHTS))),
        lambda x, i, w: x + total(_bounds(tf.where(i > 2))),
    ),
    "bounds of the negative": Pair(
        lambda x, i, w: x + total(-_bounds(tf.size(WEIGHTS))),
        lambda x, i, w: (
            x + total(tf.minimum(-tf.maximum(tf.size(tf.where(i > 2)), 4), 4))
        ),
    ),
    "Gather in a table of an unknown shape": Pair(
        lambda x, i, w: tf.gather(tf.transpose(TABLE), i % 4),
        lambda x, i, w: tf.gather(
            tf.transpose(TABLE), tf.reshape(tf.stack([i % 4, i % 3], 1), [-1])
        ),
    ),
    "splits that are converted": Pair(
        lambda x, i, w: _rounded(w, tf.int32), lambda x, i, w: _rounded(w, tf.float16)
    ),
    "StridedSlice at a size": Pair(
        lambda x, i, w: _column(x, tf.shape(x)[1]),
        lambda x, i, w: _column(x, tf.shape(x)[0]),
    ),
    "the element of a turn": Pair(
        lambda x, i, w: _read(x, True), lambda x, i, w: _read(x, False)
    ),
    "unique values": Pair(lambda x, i, w: i * 2, lambda x, i, w: tf.unique(i).idx),
}
