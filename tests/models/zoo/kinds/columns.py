"""Feature columns, and what they are made of: look-ups of several values a row."""

import warnings
from pathlib import Path
from typing import Any

import tensorflow as tf

from tests.models.zoo.kinds.text import encoded
from tests.models.zoo.kinds.v1 import TRAINING, exported
from tests.models.zoo.situation import Body, Build, Situation, of, rows
from tests.support.families.parts import static_table
from tests.support.saved_models import save, spec

v1 = tf.compat.v1
WORD = spec("w", "string", (None,))
TABLE = [[0.5, 1.0], [1.5, -1.0], [2.5, 0.25], [-3.0, 4.0]]
SEVERAL = rows("w", ["a b c", "", "b", "c c a", "x y z u v"])


def words(w: Any) -> Any:
    """The words of each text, as a sparse tensor of their numbers."""
    found = tf.strings.split(w).to_sparse()
    ids = tf.strings.to_hash_bucket_fast(found.values, 4)
    return tf.SparseTensor(found.indices, ids, found.dense_shape)


def looked_up(combiner: str, is_weighted: bool = False) -> Build:
    def f(w: Any) -> Any:
        ids = words(w)
        weights = None
        if is_weighted:
            numbers = tf.cast(ids.values, tf.float32) + 0.5
            weights = tf.SparseTensor(ids.indices, numbers, ids.dense_shape)
        look_up = tf.nn.safe_embedding_lookup_sparse
        return {"y": look_up(tf.constant(TABLE), ids, weights, combiner=combiner)}

    return of(f, WORD)


def of_all_words(w: Any) -> Any:
    """Unlike the safe look-up, it has no answer to a text without words."""
    found = tf.nn.embedding_lookup_sparse(tf.constant(TABLE), words(w), None, "sum")
    return {"y": found}


def once_each(item: Any) -> Any:
    """Each of the batch's items is looked up once, and handed to the rows that ask."""
    found = tf.unique(item)
    return {"y": tf.gather(tf.gather(tf.constant(TABLE), found.y % 4), found.idx)}


def ragged(way: Any, separator: str = " ") -> Build:
    """Words that are looked up and reduced, as ragged rows."""

    def build(path: Path) -> Path:
        keys = tf.constant([1, 2, 3], tf.int64)
        table = static_table(["a", "b", "c"], 0, keys)
        weights = tf.Variable(TABLE)

        def f(w: Any) -> Any:
            ids = tf.ragged.map_flat_values(
                table.lookup, tf.strings.split(w, separator)
            )
            return {"y": way(tf.gather(weights, ids), axis=1)}

        return save(path, f, [WORD], [table, weights])

    return build


def attended(w: Any) -> Any:
    """A softmax over the words of each text, as ragged rows."""
    cut = tf.strings.split(w)
    found = tf.gather(tf.constant(TABLE), tf.strings.to_hash_bucket_fast(cut.values, 4))
    scores = tf.exp(found[:, 0])
    owners = cut.value_rowids()
    totals = tf.math.unsorted_segment_sum(scores, owners, cut.nrows())
    shares = scores / tf.gather(totals, owners)
    weighed = cut.with_values(found * shares[:, None])
    return {"y": tf.reduce_sum(weighed, 1)}


def parsed(data: Any) -> Any:
    """An estimator's receiver of examples, and a look-up of a feature of any length."""
    form = {
        "tags": tf.io.VarLenFeature(tf.int64),
        "age": tf.io.FixedLenFeature([], tf.float32, 0.0),
        "shops": tf.io.RaggedFeature(tf.int64),
    }
    found = tf.io.parse_example(data, form)
    look_up = tf.nn.safe_embedding_lookup_sparse
    tags = look_up(tf.constant(TABLE), found["tags"], combiner="mean")
    shops = tf.reduce_sum(tf.gather(tf.constant(TABLE), found["shops"]), 1)
    return {"y": tags * found["age"][:, None] + shops}


def example(tags: list[int], age: float, shops: list[int]) -> Body:
    lists = {
        name: tf.train.Feature(int64_list=tf.train.Int64List(value=numbers))
        for name, numbers in (("tags", tags), ("shops", shops))
    }
    number = tf.train.Feature(float_list=tf.train.FloatList(value=[age]))
    features = tf.train.Features(feature=lists | {"age": number})
    data = tf.train.Example(features=features)
    return {"data": encoded(data.SerializeToString(deterministic=True))}


def receiver() -> dict[str, Any]:
    return {
        "city": v1.placeholder(tf.string, [None, 1], "city"),
        "tags": v1.placeholder(tf.string, [None], "tags"),
        "age": v1.placeholder(tf.float32, [None, 1], "age"),
        "shop": v1.placeholder(tf.int64, [None, 1], "shop"),
    }


def linear(features: dict[str, Any], used: list[Any]) -> Any:
    """A linear model, whose weights are zeros before they are trained."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = v1.feature_column.linear_model(features, used)
    for weights in v1.trainable_variables("linear_model"):
        values = tf.random.uniform(weights.shape, -1.0, 1.0, seed=3)
        v1.add_to_collection(TRAINING, weights.assign(values))
    return found


def wide_and_deep() -> tuple[dict[str, Any], dict[str, Any]]:
    """A linear model of words and crosses, and layers over embeddings of them."""
    columns = v1.feature_column
    given = receiver()
    features = given | {"tags": tf.strings.split(given["tags"]).to_sparse()}
    city = columns.categorical_column_with_vocabulary_list(
        "city", ["rome", "oslo"], num_oov_buckets=2
    )
    tags = columns.categorical_column_with_hash_bucket("tags", 20)
    shop = columns.categorical_column_with_identity("shop", 9, default_value=0)
    age = columns.bucketized_column(columns.numeric_column("age"), [18.0, 40.0])
    crosses = [
        columns.crossed_column(["city", "tags"], 30),
        columns.crossed_column([age, shop], 30),
    ]
    deep = columns.input_layer(
        features,
        [
            columns.embedding_column(city, 3, "sqrtn"),
            columns.embedding_column(tags, 3, "mean"),
            columns.embedding_column(crosses[0], 2, "sum"),
            columns.indicator_column(shop),
            columns.numeric_column("age"),
            age,
        ],
    )
    wide = linear(features, [city, tags, shop, age, *crosses])
    kernel = v1.get_variable("kernel", [deep.shape[1], 1])
    return given, {"y": tf.sigmoid(wide + tf.matmul(tf.tanh(deep), kernel))}


ASKED: list[Body] = [
    dict(zip(("city", "tags", "age", "shop"), row, strict=True))
    for row in (
        ("rome", "warm cheap", 17.5, 3),
        ("nowhere", "", 40.0, 99),
        ("", "warm", 18.0, -1),
        ("oslo", "cold old cold far", 90.0, 0),
    )
]

SITUATIONS = [
    Situation(
        "wide and deep, with crosses, of TensorFlow 1",
        exported(wide_and_deep),
        ASKED,
        rounds=True,
    ),
    *(
        Situation(
            f"a safe look-up of several words{what}: {combiner}",
            looked_up(combiner, bool(what)),
            SEVERAL,
            rounds=True,
        )
        for combiner in ("mean", "sqrtn", "sum")
        for what in ("", ", weighed")
    ),
    Situation(
        "serialized tf.Examples, of which features of any length are looked up",
        of(parsed, spec("data", "string", (None,))),
        [
            example([1, 2], 3.0, []),
            example([], 1.0, [3, 3, 1]),
            example([0, 0, 3], -1.0, [2]),
        ],
        rounds=True,
        config={"example": example([1], 1.0, [1])},
    ),
    Situation(
        "a look-up of several words that needs one in each row",
        of(of_all_words, WORD),
        rows("w", ["a b c", "b", "c c a"]),
        joins=False,
        rounds=True,
        config={"example": {"w": "a"}},
    ),
    *(
        Situation(
            f"several words, as ragged rows: {what}",
            ragged(way),
            SEVERAL[:1] + SEVERAL[2:] if what == "mean" else SEVERAL,
            rounds=True,
        )
        for what, way in (
            ("mean", tf.reduce_mean),
            ("sum", tf.reduce_sum),
            ("greatest", tf.reduce_max),
        )
    ),
    Situation(
        "a softmax over the words of a row, as ragged rows",
        of(attended, WORD),
        SEVERAL,
        rounds=True,
    ),
    Situation(
        "items of which each is looked up once",
        of(once_each, spec("item", "int64", (None,))),
        rows("item", [3, 1, 3, 2, 9]),
    ),
]
