"""Steps that split texts, and use parts with what belongs to them or to others."""

from typing import Any

import tensorflow as tf

from tests.models.independence.graphs import Graph, Parts, step
from tests.models.independence.steps_of_sizes import number


def _parts(ragged: Any) -> Parts:
    owners = ragged.value_rowids()
    return Parts(ragged.values, owners, ragged.row_splits, ragged.nrows())


@tf.function(autograph=False)  # type: ignore[untyped-decorator]
def _cut(text: Any) -> Any:
    return tuple(_parts(tf.strings.split(text)))


def two(g: Graph) -> tuple[Parts, Parts]:
    """The same parts twice, or others."""
    one = g.p
    return one, one if g.likely() else g.p


@step
def split_words(g: Graph) -> Any:
    return _parts(tf.strings.split(g.t))


@step
def split_two(g: Graph) -> Any:
    return [_parts(tf.strings.split(g.t)), _parts(tf.strings.split(g.t))]


@step
def split_others(g: Graph) -> Any:
    """As many parts in all, now and then, of which other rows have more."""
    text = g.t
    other = tf.where(tf.equal(text, "a b c"), "b", tf.where(text == "b", "a b c", text))
    return [_parts(tf.strings.split(text)), _parts(tf.strings.split(other))]


@step
def split_by_function(g: Graph) -> Any:
    return [Parts(*_cut(g.t)), Parts(*_cut(g.t))]


@step
def split_plainly(g: Graph) -> Any:
    found = tf.raw_ops.StringSplitV2(input=g.t, sep=" ")
    splits = tf.concat([[0], tf.cumsum(tf.strings.length(g.t))], 0)
    owners = found.indices[:, 0]
    return Parts(found.values, owners, tf.cast(splits, tf.int64), found.shape[0])


@step
def decode_characters(g: Graph) -> Any:
    text = g.t
    ops = tf.raw_ops
    decode = g.random.choice([ops.UnicodeDecode, ops.UnicodeDecodeWithOffsets])
    found = decode(input=text, input_encoding="UTF-8")
    owners = tf.RaggedTensor.from_row_splits(found.char_values, found.row_splits)
    count = tf.size(text, tf.int64)
    return Parts(found.char_values, owners.value_rowids(), found.row_splits, count)


@step
def pairs_of_parts(g: Graph) -> Any:
    one, other = two(g)
    found = tf.raw_ops.StringNGrams(
        data=one.values,
        data_splits=other.splits,
        separator=" ",
        ngram_widths=[2],
        left_pad="",
        right_pad="",
        pad_width=0,
        preserve_short_sequences=g.likely(),
    )
    return Parts(found.ngrams, one.owners, found.ngrams_splits, one.count)


@step
def change_parts(g: Graph) -> Any:
    """Compute with each part, or with all of them."""
    one = g.p
    if one.values.dtype == tf.string:
        ways = [tf.strings.upper, tf.strings.length, tf.strings.reduce_join]
        values = g.random.choice(ways)(one.values)
    else:
        ways = [lambda v: v % 7, lambda v: -v, lambda v: v + tf.reduce_max(v)]
        values = g.random.choice([*ways, tf.cumsum, lambda v: tf.reverse(v, [0])])(
            one.values
        )
    return one._replace(values=values)


@step
def mix_parts(g: Graph) -> Any:
    return Parts(g.p.values, g.p.owners, g.p.splits, g.p.count)


@step
def cast_splits(g: Graph) -> Any:
    one = g.p
    kind = g.random.choice([tf.int32, tf.float16, tf.int8])
    splits, owners = (
        tf.cast(tf.cast(tensor, kind), tf.int64) for tensor in (one.splits, one.owners)
    )
    return one._replace(splits=splits, owners=owners)


@step
def splits_of_lengths(g: Graph) -> Any:
    """Splits that are the totals of lengths: of these parts, others, or numbers."""
    one, other = two(g)
    lengths = other.splits[1:] - other.splits[:-1]
    if g.random.random() < 0.3:
        lengths = g.random.choice(
            [g.i % 3, g.i % 3 - 1, lengths[::-1], lengths % 3, lengths * 2]
        )
    splits = tf.concat([[0], tf.cumsum(tf.cast(lengths, tf.int64))], 0)
    return one._replace(splits=splits)


@step
def lengths_of_parts(g: Graph) -> Any:
    one, other = two(g)
    return one.splits[1:] - other.splits[:-1]


@step
def differences_of_totals(g: Graph) -> Any:
    a = g.i
    b = a if g.likely() else g.i
    ends = tf.concat([[0], tf.cumsum(a)], 0)[1:]
    return ends - tf.concat([[0], tf.cumsum(b)], 0)[:-1]


@step
def totals_together(g: Graph) -> Any:
    one, other = two(g)
    a, b = (s[1:] - s[:-1] for s in (one.splits, other.splits))
    return tf.concat([[0], tf.cumsum(a + b)], 0)[1:]


@step
def count_parts(g: Graph) -> Any:
    one, other = two(g)
    weights = tf.constant([], tf.float64)
    if g.random.random() < 0.3:
        weights = g.random.choice([g.f[:, 0], g.constant(g.height)])
    return tf.raw_ops.DenseBincount(
        input=one.owners,
        size=other.count,
        weights=weights,
        binary_output=not g.likely(),
    )


@step
def counts_in_rows(g: Graph) -> Any:
    one, other = two(g)
    values = one.values
    if values.dtype == tf.string:
        values = tf.strings.length(values)
    weights = [] if g.likely() else [1.0] * g.height
    return tf.raw_ops.RaggedBincount(
        splits=tf.cast(other.splits, tf.int64),
        values=tf.cast(values, tf.int64) % 9,
        size=tf.cast(number(g), tf.int64),
        weights=tf.constant(weights, tf.float64),
        binary_output=g.likely(),
    )


@step
def fill_up_by_owners(g: Graph) -> Any:
    one, other = two(g)
    count = g.p.count if g.random.random() < 0.2 else one.count
    return tf.raw_ops.RaggedTensorToTensor(
        shape=tf.cast([-1, _width(g)], tf.int64),
        values=one.values,
        default_value=tf.zeros([], one.values.dtype),
        row_partition_tensors=[tf.cast(count, tf.int64), other.owners],
        row_partition_types=["FIRST_DIM_SIZE", "VALUE_ROWIDS"],
    )


@step
def fill_up_by_splits(g: Graph) -> Any:
    one, other = two(g)
    return tf.raw_ops.RaggedTensorToTensor(
        shape=tf.cast([-1, _width(g)], tf.int64),
        values=one.values,
        default_value=tf.zeros([], one.values.dtype),
        row_partition_tensors=[other.splits],
        row_partition_types=["ROW_SPLITS"],
    )


def _width(g: Graph) -> Any:
    return g.random.choice([2, 3, 3, -1, number(g)])


@step
def segments_of_parts(g: Graph) -> Any:
    one, other = two(g)
    values = one.values
    if values.dtype == tf.string:
        values = tf.strings.length(values)
    way = g.random.choice([tf.math.unsorted_segment_sum, tf.math.unsorted_segment_max])
    return way(values, other.owners, g.random.choice([one.count, number(g)]))


@step
def join_parts(g: Graph) -> Any:
    one, other = two(g)
    return tf.strings.unsorted_segment_join(one.values, other.owners, one.count)


@step
def bare_parts(g: Graph) -> Any:
    one = g.p
    return [g.random.choice([one.values, one.owners, one.splits, one.count])]


@step
def bytes_of_texts(g: Graph) -> Any:
    length = g.random.choice([4, 4, number(g)])
    return tf.io.decode_raw(g.t, tf.uint8, fixed_length=length)


@step
def parts_of_texts(g: Graph) -> Any:
    places = g.random.choice([g.i % 2, tf.zeros_like(g.i), g.constant(g.height) > 9])
    begins = tf.cast(places, tf.int32)
    return tf.strings.substr(g.t, begins, tf.fill(tf.shape(begins), number(g)))


@step
def number_of_texts(g: Graph) -> Any:
    """A table's number for each text: of a default, or one for each place."""
    table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(["a"], tf.constant([1], tf.int64)), -1
    )
    return table.lookup(g.p.values if g.random.random() < 0.3 else g.t)
