"""Families of SavedModels whose inputs collapse, and such whose inputs must not."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tests.support.saved_models import save, spec

WORDS = ["rome", "oslo", "", "Zürich", "[UNK]"]


def static_table(keys: Any, default: int = -1, values: Any = None) -> Any:
    keys = tf.constant(keys)
    values = tf.range(10, 10 + len(keys), dtype=tf.int64) if values is None else values
    return tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(keys, values), default
    )


def text(name: str = "w") -> Any:
    return spec(name, "string")


def number(value: Any) -> Any:
    return tf.cast(value, tf.float32)


# --- families that collapse: name → (builder, kinds) ---


def two_tables(path: Path) -> Path:
    """One input, two tables that know different words and have different defaults."""
    first, second = static_table(WORDS[:3], -1), static_table(WORDS[2:], -7)

    def f(w: Any) -> Any:
        return {"y": number(first.lookup(w) * 100 + second.lookup(w))}

    return save(path, f, [text()], [first, second])


def mutable_table(path: Path) -> Path:
    """A mutable table, filled before it is saved, behind shapes and identities."""
    table = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -5)
    table.insert(tf.constant(WORDS), tf.range(len(WORDS), dtype=tf.int64))

    def f(w: Any) -> Any:
        flat = tf.squeeze(tf.identity_n([tf.reshape(w, [-1, 1, 1])])[0], [1, 2])
        return {"y": number(table.lookup(tf.expand_dims(flat, 1)))}

    return save(path, f, [text()], table)


def masked(path: Path) -> Path:
    """A lookup and mask tokens: equalities with constants."""
    table = static_table(WORDS[:2])

    def f(w: Any, n: Any) -> Any:
        found = tf.where(tf.equal(w, "mask"), tf.constant(0, tf.int64), table.lookup(w))
        is_other = tf.not_equal(n, tf.constant([[7]]))
        return {"y": number(found) + tf.where(is_other, 0.5, 0.0)}

    return save(path, f, [text(), spec("n", "int32")], table)


def branches(path: Path) -> Path:
    """Lookups in both branches of a condition, in a nested function and in a loop."""
    table, other = static_table(WORDS[:2]), static_table(WORDS[1:4], 3)

    @tf.function  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def nested(w: Any) -> Any:
        return table.lookup(tf.identity(w))

    def f(w: Any, n: Any) -> Any:
        some = tf.reduce_any(tf.equal(n, tf.constant(2, tf.int64)))
        first = tf.cond(some, lambda: nested(w), lambda: other.lookup(w))

        def turn(i: Any, total: Any, w: Any) -> Any:
            return i + 1, total + other.lookup(w), w

        start = (tf.constant(0), tf.zeros_like(first), w)
        _, total, last = tf.while_loop(lambda i, *_: i < 3, turn, start)
        return {"y": number(first + total + table.lookup(last))}

    return save(path, f, [text(), spec("n", "int64")], [table, other])


def buckets(path: Path) -> Path:
    """Bucketize, twice, of a float; and of an integer that float32 cannot hold."""
    edges, big = [-1.5, 0.0, 0.1, 3e38], [-3.0, 16777220.0, 33554432.0]

    def f(x: Any, n: Any) -> Any:
        a = tf.raw_ops.Bucketize(input=x, boundaries=edges)
        b = tf.raw_ops.Bucketize(input=tf.squeeze(x, 1), boundaries=[0.1, 2.0])
        c = tf.raw_ops.Bucketize(input=n, boundaries=big)
        return {"y": number(a * 100 + tf.expand_dims(b, 1) * 10 + c)}

    return save(path, f, [spec("x"), spec("n", "int64")])


def integers(path: Path) -> Path:
    """Integers through a wider dtype to a table; small ones, nearly all known."""
    table, small = (
        static_table(np.array(keys, np.int64))
        for keys in ([0, 5, -1, 2**40], [n for n in range(-128, 128) if n != 100])
    )

    def f(n: Any, b: Any) -> Any:
        found = table.lookup(tf.cast(n, tf.int64))
        return {"y": number(found * 1000 + small.lookup(tf.cast(b, tf.int64)))}

    return save(path, f, [spec("n", "int32"), spec("b", "int8")], [table, small])


def vectors(path: Path) -> Path:
    """Several words a row, joined with another input, of which elements are taken."""
    table = static_table(WORDS)

    def f(a: Any, b: Any) -> Any:
        joined = tf.transpose(tf.concat([a, b[:, 1:]], 1))
        found = number(table.lookup(tf.gather(joined, [2, 0, 1])))
        weights = tf.constant([[1.0], [10.0], [100.0]])
        return {"y": tf.reduce_sum(found * weights, 0)}

    specs = [spec("a", "string", (None, 2)), spec("b", "string", (None, 2))]
    return save(path, f, specs, table)


def one_hash_bucket(path: Path) -> Path:
    """TensorFlow 1's way to one out-of-vocabulary bucket."""
    table = tf.lookup.StaticVocabularyTable(
        tf.lookup.KeyValueTensorInitializer(
            tf.constant(WORDS), tf.range(len(WORDS), dtype=tf.int64)
        ),
        num_oov_buckets=1,
    )
    return save(path, lambda w: {"y": number(table.lookup(w))}, [text()], table)


def of_the_batch(path: Path) -> Path:
    """What is known of one row changes the answers of all that run with it."""
    table = static_table(WORDS)

    def f(w: Any, n: Any) -> Any:
        found, is_any = number(table.lookup(w)), tf.reduce_any(tf.equal(n, 7))
        return {"y": found - tf.reduce_max(found) + tf.where(is_any, 0.5, 0.0)}

    return save(path, f, [text(), spec("n", "int64")], table)


def keras_lookups(path: Path) -> Path:
    """Keras 3: a mask token, no out-of-vocabulary index, an input in two layers."""
    import keras as k

    k.utils.set_random_seed(5)
    layers = k.layers
    city = k.Input((1,), name="city", dtype="string")
    day = k.Input((1,), name="day", dtype="int64")
    price = k.Input((1,), name="price", dtype="float32")
    masked = layers.StringLookup(vocabulary=WORDS[:2], mask_token="none")
    adapted = layers.StringLookup()
    adapted.adapt(np.array(["lima", "rome"]))
    days = layers.IntegerLookup(vocabulary=[1, 2, 3], mask_token=0)
    bins = layers.Discretization(bin_boundaries=[0.1, 5.0])
    parts = [
        layers.Embedding(4, 3)(masked(city)),
        layers.Embedding(3, 3)(adapted(city)),
        layers.Embedding(5, 3)(days(day)),
        layers.Embedding(3, 3)(bins(price)),
    ]
    hidden = layers.Flatten()(layers.Concatenate()(parts))
    score = layers.Dense(1, name="score")(hidden)
    k.Model([city, day, price], {"score": score}).export(str(path), verbose=False)
    return path


def saved_keras(path: Path) -> Path:
    """A Keras 3 model as tf.saved_model.save writes it, its vocabulary from a file."""
    import keras as k

    words = path.with_suffix(".txt")
    words.write_text("rome\noslo\n")
    city = k.Input((1,), name="city", dtype="string")
    lookup = k.layers.StringLookup(vocabulary=str(words))
    tf.saved_model.save(k.Model(city, lookup(city)), str(path))
    words.unlink()
    return path


def tensorflow_1(path: Path) -> Path:
    """A graph with v1 control flow, a table from a file and a sparse column."""
    v1 = tf.compat.v1
    words = path.with_suffix(".txt")
    words.write_text("rome\noslo\n")
    v1.disable_control_flow_v2()
    try:
        with v1.Graph().as_default(), v1.Session() as session:
            w = v1.placeholder(tf.string, [None, 1], name="w")
            table = tf.lookup.StaticHashTable(
                tf.lookup.TextFileInitializer(
                    str(words),
                    tf.string,
                    tf.lookup.TextFileIndex.WHOLE_LINE,
                    tf.int64,
                    tf.lookup.TextFileIndex.LINE_NUMBER,
                ),
                -1,
            )
            is_there = tf.not_equal(w, "")
            some = tf.gather_nd(w, tf.where(is_there))
            total = tf.reduce_sum(table.lookup(some))
            first = tf.cond(
                tf.reduce_any(is_there), lambda: table.lookup(w), lambda: w_zero(w)
            )
            y = number(first) + 0.0 * number(total)
            v1.saved_model.simple_save(
                session,
                str(path),
                {"w": w},
                {"y": y},
                legacy_init_op=v1.tables_initializer(),
            )
    finally:
        v1.enable_control_flow_v2()
    words.unlink()
    return path


def w_zero(w: Any) -> Any:
    return tf.zeros_like(w, tf.int64)


COLLAPSING: dict[str, tuple[Any, dict[str, str]]] = {
    "two tables": (two_tables, {"w": "vocabulary"}),
    "mutable table": (mutable_table, {"w": "vocabulary"}),
    "masked": (masked, {"n": "vocabulary", "w": "vocabulary"}),
    "branches": (branches, {"n": "vocabulary", "w": "vocabulary"}),
    "buckets": (buckets, {"n": "buckets", "x": "buckets"}),
    "integers": (integers, {"b": "vocabulary", "n": "vocabulary"}),
    "vectors": (vectors, {"a": "vocabulary", "b": "vocabulary"}),
    "one hash bucket": (one_hash_bucket, {"w": "vocabulary"}),
    "of the batch": (of_the_batch, {"n": "vocabulary", "w": "vocabulary"}),
    "keras": (
        keras_lookups,
        {"city": "vocabulary", "day": "vocabulary", "price": "buckets"},
    ),
    "saved keras": (saved_keras, {"inputs": "vocabulary"}),
    "TensorFlow 1": (tensorflow_1, {"w": "vocabulary"}),
}


# --- models that a careless walk would collapse wrongly: name → (builder, inputs) ---


def oov_buckets(path: Path) -> Path:
    table = tf.lookup.StaticVocabularyTable(
        tf.lookup.KeyValueTensorInitializer(
            tf.constant(WORDS), tf.range(len(WORDS), dtype=tf.int64)
        ),
        num_oov_buckets=2,
    )
    return save(path, lambda w: {"y": number(table.lookup(w))}, [text()], table)


def keras_oov(path: Path) -> Path:
    import keras as k

    city = k.Input((1,), name="city", dtype="string")
    day = k.Input((1,), name="day", dtype="int64")
    cities = k.layers.StringLookup(vocabulary=WORDS[:2], num_oov_indices=2)
    days = k.layers.IntegerLookup(vocabulary=[1, 2], num_oov_indices=3)
    outputs = {"a": cities(city), "b": days(day)}
    k.Model([city, day], outputs).export(str(path), verbose=False)
    return path


def of_text(op: Any) -> Any:
    """A model that looks words up and uses something else of them too."""

    def build(path: Path) -> Path:
        table = static_table(WORDS)

        def f(w: Any) -> Any:
            return {"y": number(table.lookup(w)) + number(op(w))}

        return save(path, f, [text()], table)

    return build


def lowered(path: Path) -> Path:
    table = static_table(WORDS)

    def f(w: Any) -> Any:
        return {"y": number(table.lookup(tf.strings.lower(w)))}

    return save(path, f, [text()], table)


def raw_in_a_branch(path: Path) -> Path:
    table = static_table(WORDS)

    def f(w: Any, n: Any) -> Any:
        found = tf.cond(
            tf.reduce_any(tf.equal(n, 1)),
            lambda: tf.strings.length(w),
            lambda: tf.cast(table.lookup(w), tf.int32),
        )
        return {"y": number(found)}

    return save(path, f, [text(), spec("n", "int32")], table)


def raw_in_a_case(path: Path) -> Path:
    table = static_table(WORDS)

    def f(w: Any, n: Any) -> Any:
        branches = [lambda: table.lookup(w), lambda: tf.strings.to_hash_bucket(w, 9)]
        return {"y": number(tf.switch_case(n[0, 0], branches))}

    return save(path, f, [text(), spec("n", "int32")], table)


def raw_after_a_turn(path: Path) -> Path:
    """The second turn of a loop uses as a text what the first one only carried."""
    table = static_table(WORDS)

    def f(w: Any) -> Any:
        def turn(i: Any, total: Any, now: Any, later: Any) -> Any:
            return i + 1, total + tf.strings.length(now), later, later

        start = (0, tf.zeros_like(w, tf.int32), tf.zeros_like(w), w)
        _, total, *_ = tf.while_loop(lambda i, *_: i < 2, turn, start)
        return {"y": number(table.lookup(w)) + number(total)}

    return save(path, f, [text()], table)


def decides_a_loop(path: Path) -> Path:
    def f(n: Any) -> Any:
        first = n[0, 0]
        turns = tf.while_loop(lambda i: i < first, lambda i: [i + 1], [0])[0]
        return {"y": number(tf.equal(n, 3)) + number(turns)}

    return save(path, f, [spec("n", "int32")])


def compared_with_another(path: Path) -> Path:
    table = static_table(WORDS)

    def f(a: Any, b: Any) -> Any:
        found = number(table.lookup(a) + table.lookup(b))
        return {"y": found + number(tf.equal(a, b))}

    return save(path, f, [text("a"), text("b")], table)


def joined_and_compared(path: Path) -> Path:
    def f(a: Any, b: Any) -> Any:
        joined, turned = tf.concat([a, b], 1), tf.concat([b, a], 1)
        return {"y": number(tf.reduce_any(joined == turned, 1, keepdims=True))}

    return save(path, f, [text("a"), text("b")])


def fetched(path: Path) -> Path:
    table = static_table(WORDS)

    def f(w: Any) -> Any:
        return {"y": number(table.lookup(w)), "z": tf.identity(w)}

    return save(path, f, [text()], table)


def default_of_another(path: Path) -> Path:
    """What a mutable table gives for an unknown number is the other input."""
    table = tf.lookup.experimental.MutableHashTable(tf.int64, tf.int64, -1)
    table.insert(tf.constant([1, 2], tf.int64), tf.constant([5, 6], tf.int64))

    def f(n: Any, other: Any) -> Any:
        return {"y": table.lookup(n, dynamic_default_values=other)}

    return save(path, f, [spec("n", "int64"), spec("other", "int64")], table)


def dense_table(path: Path) -> Path:
    """Two keys of a dense table are errors."""
    table = tf.lookup.experimental.DenseHashTable(tf.int64, tf.int64, -1, -2, -3)
    table.insert(tf.constant([1, 2], tf.int64), tf.constant([5, 6], tf.int64))
    return save(path, lambda n: {"y": table.lookup(n)}, [spec("n", "int64")], table)


def written_table(path: Path) -> Path:
    """A table that serving writes to."""
    table = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1)
    table.insert(tf.constant(WORDS), tf.range(len(WORDS), dtype=tf.int64))

    def f(w: Any) -> Any:
        found = table.lookup(w)
        table.insert(w, found + 1)
        return {"y": found}

    return save(path, f, [text()], table)


def narrowed_to_table(path: Path) -> Path:
    """Integers that a Cast wraps round before they are looked up."""
    table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(
            tf.constant([1, 2], tf.int32), tf.constant([5, 6], tf.int32)
        ),
        -1,
    )

    def f(n: Any) -> Any:
        return {"y": table.lookup(tf.cast(n, tf.int32))}

    return save(path, f, [spec("n", "int64")], table)


def narrowed_to_buckets(path: Path) -> Path:
    def f(x: Any, n: Any) -> Any:
        a, b = (
            tf.raw_ops.Bucketize(input=number(v), boundaries=[0.1, 1e8]) for v in (x, n)
        )
        return {"y": a * 10 + b}

    return save(path, f, [spec("x", "float64"), spec("n", "int64")])


def buckets_of_narrow_floats(path: Path) -> Path:
    """Floats that are rounded when they are fed, some of them past a boundary."""

    def f(x: Any, z: Any) -> Any:
        a, b = (
            tf.raw_ops.Bucketize(input=number(v), boundaries=[-1e-9, 0.1, 1.0, 3.3])
            for v in (x, z)
        )
        return {"y": a * 10 + b}

    return save(path, f, [spec("x", "float16"), spec("z", "bfloat16")])


def bucketized_and_used(path: Path) -> Path:
    def f(x: Any) -> Any:
        return {"y": number(tf.raw_ops.Bucketize(input=x, boundaries=[1.0])) + x}

    return save(path, f, [spec("x")])


def bucketized_and_compared(path: Path) -> Path:
    def f(n: Any) -> Any:
        bucket = tf.raw_ops.Bucketize(input=n, boundaries=[5.0, 9.0])
        return {"y": number(bucket) + 0.5 * number(tf.equal(n, 7))}

    return save(path, f, [spec("n", "int32")])


def counted_in_the_batch(path: Path) -> Path:
    """How many different words there are in a row."""

    def f(w: Any) -> Any:
        shared = tf.reduce_sum(tf.cast(w[:, :1] == w, tf.int32), 1, keepdims=True)
        return {"y": shared}

    return save(path, f, [spec("w", "string", (None, 3))])


def asserted(path: Path) -> Path:
    """Words of more than five letters are errors, by a control dependency alone."""
    table = static_table(WORDS)

    def f(w: Any) -> Any:
        short = tf.debugging.assert_less(tf.strings.length(w), 6)
        with tf.control_dependencies([short]):
            return {"y": number(table.lookup(w))}

    return save(path, f, [text()], table)


def shared_variable(path: Path) -> Path:
    """A constant that is none: a variable."""
    word = tf.Variable("rome")

    def f(w: Any) -> Any:
        return {"y": number(tf.equal(w, word))}

    return save(path, f, [text()], word)


EXACT: dict[str, tuple[Any, tuple[str, ...]]] = {
    "two out-of-vocabulary buckets": (oov_buckets, ("w",)),
    "Keras out-of-vocabulary indices": (keras_oov, ("city", "day")),
    "hash": (of_text(lambda w: tf.strings.to_hash_bucket_fast(w, 7)), ("w",)),
    "length": (of_text(tf.strings.length), ("w",)),
    "regex": (of_text(lambda w: tf.strings.regex_full_match(w, "r.*")), ("w",)),
    "substring": (of_text(lambda w: tf.strings.substr(w, 0, 1) == "r"), ("w",)),
    "split": (
        of_text(lambda w: tf.strings.split(w[:, 0]).row_lengths()[:, None]),
        ("w",),
    ),
    "lower-casing": (lowered, ("w",)),
    "raw in a branch": (raw_in_a_branch, ("w",)),
    "raw in a case": (raw_in_a_case, ("n", "w")),
    "raw after a turn": (raw_after_a_turn, ("w",)),
    "decides a loop": (decides_a_loop, ("n",)),
    "compared with another": (compared_with_another, ("a", "b")),
    "joined and compared": (joined_and_compared, ("a", "b")),
    "fetched": (fetched, ("w",)),
    "default": (default_of_another, ("other",)),
    "dense table": (dense_table, ("n",)),
    "written table": (written_table, ("w",)),
    "narrowed to a table": (narrowed_to_table, ("n",)),
    "narrowed to buckets": (narrowed_to_buckets, ("n", "x")),
    "buckets of narrow floats": (buckets_of_narrow_floats, ("x", "z")),
    "bucketized and used": (bucketized_and_used, ("x",)),
    "bucketized and compared": (bucketized_and_compared, ("n",)),
    "compared with itself": (counted_in_the_batch, ("w",)),
    "asserted": (asserted, ("w",)),
    "a variable": (shared_variable, ("w",)),
}

# Families in which the values of one row decide what becomes of another one.
ROWS_APART = (
    *("branches", "TensorFlow 1", "raw in a branch", "raw in a case"),
    *("decides a loop", "written table", "of the batch"),
)
