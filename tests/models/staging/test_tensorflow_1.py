"""Exports in the style of TensorFlow 1's estimators."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from tensorflow.python.ops.lookup_ops import index_table_from_tensor

from gomlx.contract.canonical import Buckets, Vocabulary
from gomlx.models.serving.servable import Description, Servable
from gomlx.models.version import ModelVersion

Stage = Callable[..., ModelVersion]
v1 = tf.compat.v1
columns = v1.feature_column
CITIES = ["rome", "oslo", "lima"]
COLORS = ["red", "green"]


def features(words: Path) -> tuple[dict[str, Any], list[Any]]:
    """The placeholders of a serving input receiver, and columns over them."""
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


def graph(words: Path) -> tuple[dict[str, Any], dict[str, Any]]:
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
            tf.constant([0, 1], tf.int64), tf.constant(["cheap", "expensive"])
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
    """Save as an estimator exports: two signatures, and the tables in a main op."""
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
    """Save as simple_save does, with the tables in its older legacy_init_op."""
    v1.saved_model.simple_save(
        session, str(path), given, found, legacy_init_op=initialize()
    )


def export(folder: Path, save: Any) -> Path:
    words = folder / "words.txt"
    words.write_text("\n".join(CITIES))
    with v1.Graph().as_default(), v1.Session() as session:
        v1.set_random_seed(4)
        given, found = graph(words)
        session.run([v1.global_variables_initializer(), initialize()])
        save(session, folder / "m", given, found)
    words.unlink()  # the export has its own
    return folder / "m"


def ordinary(source: Path, name: str, rows: dict[str, list[Any]]) -> dict[str, Any]:
    """Return the outputs of TensorFlow 1's own loader and session."""
    with v1.Graph().as_default(), v1.Session() as session:
        loaded = v1.saved_model.load(session, ["serve"], str(source)).signature_def
        fed = {
            info.name: [[value] for value in rows[key]]
            for key, info in loaded[name].inputs.items()
        }
        fetches = {key: info.name for key, info in loaded[name].outputs.items()}
        found = session.run(fetches, fed)
        return {key: values.ravel().tolist() for key, values in found.items()}


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
    rows = servable.signature.check(ROWS | {"batch_size": 6}).rows
    answers = servable.run(servable.dictionary.canonical(rows))
    found = [json.loads(answer) for answer in answers]
    theirs = ordinary(source, name, ROWS)
    assert found[0].keys() == theirs.keys()
    assert [row["score"] for row in found] == pytest.approx(theirs["score"], rel=1e-5)
    if "label" in theirs:
        assert [row["label"].encode() for row in found] == theirs["label"]


def variable(value: Any) -> Any:
    """Return a variable of the old form: writes to it go through a reference."""
    return v1.get_variable("v", initializer=value, use_resource=False)


WRITES: dict[str, Callable[[Any], Any]] = {
    "assign": lambda x: x + v1.assign(variable([1.0]), [2.0]),
    "add": lambda x: x + v1.assign_add(variable([1.0]), [2.0]),
    "scatter": lambda x: x + v1.scatter_add(variable([1.0]), [0], [2.0])[0],
    "count": lambda x: x + tf.cast(variable(1).count_up_to(99), tf.float32),
    "apply": lambda x: (
        x
        + tf.raw_ops.ApplyGradientDescent(
            var=variable([1.0])._variable, alpha=0.1, delta=[1.0]
        )
    ),
}


def within_a_loop(x: Any) -> Any:
    """Read a reference in a loop and in a branch."""
    weight = variable([3.0])
    some = tf.cond(tf.size(x) > 0, lambda: weight * 2.0, lambda: weight)
    _, y = tf.while_loop(lambda i, _: i < 2, lambda i, y: (i + 1, y * weight), (0, x))
    return y + some


READS: dict[str, Callable[[Any], Any]] = {
    "loop": within_a_loop,
    "gather": lambda x: x * tf.gather(variable([3.0, 4.0]), tf.cast(x > 0.0, tf.int32)),
    "map": lambda x: tf.map_fn(lambda row: row * 2.0, x),
    "scan": lambda x: tf.transpose(
        tf.scan(lambda total, column: total + column, tf.transpose(x))
    ),
    "checked": lambda x: tf.debugging.check_numerics(x * variable([3.0]), "x"),
    "when initialized": lambda x: (
        x + tf.where(v1.is_variable_initialized(variable([3.0])._variable), 1.0, 0.0)
    ),
}


def small(path: Path, f: Callable[[Any], Any]) -> Path:
    v1.disable_control_flow_v2()
    try:
        with v1.Graph().as_default(), v1.Session() as session:
            x = v1.placeholder(tf.float32, [None, 1], name="x")
            y = f(x)
            session.run(v1.global_variables_initializer())
            init = v1.tables_initializer()
            v1.saved_model.simple_save(
                session, str(path), {"x": x}, {"y": y}, legacy_init_op=init
            )
    finally:
        v1.enable_control_flow_v2()
    return path


@pytest.mark.parametrize("what", WRITES)
def test_a_model_that_writes_through_a_reference_is_not_cached(
    tmp_path: Path, staged: Stage, what: str
) -> None:
    servable = Servable(staged(small(tmp_path / "m", WRITES[what])))
    assert servable.description.unsteady
    servable.run([(1.0,)])


@pytest.mark.parametrize("what", READS)
def test_a_model_that_only_reads_is_cached(
    tmp_path: Path, staged: Stage, what: str
) -> None:
    version = staged(small(tmp_path / "m", READS[what]))
    assert not Description.read(version.directory).unsteady
