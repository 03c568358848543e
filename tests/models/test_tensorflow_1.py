"""Exports in the manner of TensorFlow 1's estimators."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from tensorflow.python.ops.lookup_ops import index_table_from_tensor

from gomlx.contract.canonical import Buckets, Vocabulary
from gomlx.models.servable import Servable
from gomlx.models.version import ModelVersion

Stage = Callable[..., ModelVersion]
v1 = tf.compat.v1
columns = v1.feature_column
CITIES, COLORS = ["rome", "oslo", "lima"], ["red", "green"]


def features(words: Path) -> tuple[dict[str, Any], list[Any]]:
    """What a serving input receiver takes, and columns over it."""
    placeholders = {
        "city": v1.placeholder(tf.string, [None, 1], "city"),
        "color": v1.placeholder(tf.string, [None, 1], "color"),
        "size": v1.placeholder(tf.string, [None, 1], "size"),
        "price": v1.placeholder(tf.float32, [None, 1], "price"),
    }
    city = columns.categorical_column_with_vocabulary_file(
        "city", str(words), len(CITIES), num_oov_buckets=1
    )
    color = columns.categorical_column_with_vocabulary_list("color", COLORS)
    price = columns.numeric_column("price")
    return placeholders, [
        columns.embedding_column(city, 3),
        columns.indicator_column(color),
        columns.bucketized_column(price, [1.0, 5.0]),
    ]


def answers(words: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """An estimator's graph: variables of both forms, tables, feature columns."""
    given, used = features(words)
    dense = columns.input_layer(given, used)
    sizes = index_table_from_tensor(tf.constant(["S", "M"]), default_value=2)
    prices = v1.get_variable("sizes", [3, 1], use_resource=True)
    kernel = v1.get_variable(
        "kernel",
        [dense.shape[1], 1],
        use_resource=False,
        partitioner=v1.fixed_size_partitioner(2),
    )
    local = [v1.GraphKeys.LOCAL_VARIABLES]  # in no checkpoint
    shift = v1.get_variable("shift", initializer=[0.25], collections=local)
    size = tf.nn.embedding_lookup(prices, tf.squeeze(sizes.lookup(given["size"]), 1))
    score = tf.matmul(dense, tf.convert_to_tensor(kernel)) + size + shift
    names = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(
            tf.constant([0, 1], tf.int64), tf.constant(["cheap", "dear"])
        ),
        "?",
    )
    label = names.lookup(tf.cast(score > 0.0, tf.int64))
    return given, {"score": score, "label": label}


def initialize() -> Any:
    return tf.group(v1.local_variables_initializer(), v1.tables_initializer())


def signature(inputs: dict[str, Any], outputs: dict[str, Any]) -> Any:
    return v1.saved_model.predict_signature_def(inputs, outputs)


def built(session: Any, path: Path, given: Any, found: Any) -> None:
    """As an estimator exports: two signatures, and the tables in a main op."""
    builder = v1.saved_model.Builder(str(path))
    score = {"score": found["score"]}
    builder.add_meta_graph_and_variables(
        session,
        [v1.saved_model.tag_constants.SERVING],
        {
            "serving_default": signature(given, score),
            "predict": signature(given, found),
        },
        assets_collection=v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS),
        main_op=initialize(),
        strip_default_attrs=True,
    )
    builder.save()


def simple(session: Any, path: Path, given: Any, found: Any) -> None:
    """As simple_save does, with the tables in its older legacy_init_op."""
    v1.saved_model.simple_save(
        session, str(path), given, found, legacy_init_op=initialize()
    )


def export(folder: Path, save: Any) -> Path:
    words = folder / "words.txt"
    words.write_text("\n".join(CITIES))
    with v1.Graph().as_default(), v1.Session() as session:
        v1.set_random_seed(4)
        given, found = answers(words)
        session.run([v1.global_variables_initializer(), initialize()])
        save(session, folder / "m", given, found)
    words.unlink()  # the export has its own
    return folder / "m"


def ordinary(source: Path, name: str, rows: dict[str, list[Any]]) -> dict[str, Any]:
    """What TensorFlow 1's loader and session give."""
    with v1.Graph().as_default(), v1.Session() as session:
        loaded = v1.saved_model.load(session, ["serve"], str(source)).signature_def
        fed = {
            info.name: [[value] for value in rows[key]]
            for key, info in loaded[name].inputs.items()
        }
        asked = {key: info.name for key, info in loaded[name].outputs.items()}
        return {key: v.ravel().tolist() for key, v in session.run(asked, fed).items()}


ROWS: dict[str, list[Any]] = {
    "city": ["rome", "lima", "nowhere", "elsewhere", "oslo", "rome"],
    "color": ["red", "green", "blue", "red", "green", "pink"],
    "size": ["S", "M", "XL", "L", "S", "S"],
    "price": [0.5, 1.0, 3.0, 5.0, 7.0, -1.0],
}


@pytest.mark.parametrize(
    ("save", "name"),
    [(built, "serving_default"), (built, "predict"), (simple, "serving_default")],
)
def test_it_is_proved_and_answers_as_tensorflow_does(
    tmp_path: Path, staged: Stage, save: Any, name: str
) -> None:
    source = export(tmp_path, save)
    servable = Servable(staged(source, signature=name))
    city, color, price, size = servable.dictionary.kinds  # in the order of names
    assert isinstance(city, Vocabulary) and city.known == {"", *CITIES}
    assert isinstance(color, Vocabulary) and color.known == {"", *COLORS}
    assert isinstance(price, Buckets) and price.thresholds == (1.0, 5.0)
    assert isinstance(size, Vocabulary) and size.known == {"S", "M"}
    asked = servable.signature.question(ROWS | {"batch_size": 6}).rows
    found = [json.loads(a) for a in servable.run(servable.dictionary.canonical(asked))]
    theirs = ordinary(source, name, ROWS)
    assert found[0].keys() == theirs.keys()
    assert [row["score"] for row in found] == pytest.approx(theirs["score"], rel=1e-5)
    if "label" in theirs:
        assert [row["label"].encode() for row in found] == theirs["label"]
