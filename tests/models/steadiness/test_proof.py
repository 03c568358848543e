"""What is steady: functions of inputs and weights; what is not: all that is unknown."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from gomlx.models.serving.servable import Description, Servable
from gomlx.models.steadiness.proof import may_write
from gomlx.models.version import ModelVersion, Settings
from tests.models.steadiness.graphs import Build, newer, unsteady
from tests.support.saved_models import save, spec

Stage = Callable[..., ModelVersion]
raw = tf.raw_ops


def answer(servable: Servable, x: float) -> Any:
    return json.loads(servable.run([(x,)])[0])["y"]


def test_a_model_that_reads_a_file_is_not_cached(tmp_path: Path, staged: Stage) -> None:
    file = tmp_path / "factor"
    file.write_text("2")

    def f(x: Any) -> Any:
        return x * tf.strings.to_number(tf.io.read_file(str(file)))

    allowed = Settings(allow_operations=("ReadFile",))
    servable = Servable(staged(newer(tmp_path / "m", f), settings=allowed))
    assert servable.description.unsteady == ("ReadFile",)
    assert answer(servable, 3.0) == 6.0
    file.write_text("5")
    assert answer(servable, 3.0) == 15.0


def drawn(data: Any) -> Any:
    """Return the sum of a data set's elements."""
    return data.reduce(0.0, lambda total, one: total + one)


def parallel(deterministic: bool) -> Any:
    data = tf.data.Dataset.range(4)
    return data.map(
        lambda i: tf.cast(i, tf.float32),
        num_parallel_calls=2,
        deterministic=deterministic,
    )


def listed(x: Any) -> Any:
    return x + tf.cast(tf.size(tf.io.matching_files("/tmp/*")), tf.float32)


def mapped_file(x: Any) -> Any:
    return x + raw.ImmutableConst(
        dtype=tf.float32, shape=[1], memory_region_name="/dev/zero"
    )


def seeded(x: Any) -> Any:
    return x + tf.random.stateless_uniform([1], seed=[1, 2])


def iterated(x: Any) -> Any:
    return x + next(iter(tf.data.Dataset.from_tensor_slices([1.0, 2.0])))


def mapped(x: Any) -> Any:
    return tf.map_fn(lambda row: row * 2.0, x)


def image(x: Any) -> Any:
    pixels = tf.cast(tf.fill([2, 2, 1], 9), tf.uint8)
    decoded = tf.io.decode_png(tf.io.encode_png(pixels))
    return x + tf.cast(decoded[0, 0, 0], tf.float32)


def parsed(x: Any) -> Any:
    found = tf.io.parse_example(
        tf.constant([b""]), {"a": tf.io.FixedLenFeature([], tf.float32, 4.0)}
    )
    return x + found["a"]


def single(x: Any) -> Any:
    data = tf.data.Dataset.from_tensors(tf.zeros([1])).batch(1)
    return x + data.get_single_element()[0]


def first_key(x: Any) -> Any:
    """A table lists its keys in an order that each process chooses anew."""
    table = raw.MutableHashTableV2(key_dtype=tf.float32, value_dtype=tf.float32)
    keys, _ = raw.LookupTableExportV2(
        table_handle=table, Tkeys=tf.float32, Tvalues=tf.float32
    )
    return x + tf.reduce_sum(keys[:1])


STEADY: dict[str, Build] = {
    "a pure data set": lambda x: x + drawn(tf.data.Dataset.range(3).map(float32)),
    "in parallel, in order": lambda x: x + drawn(parallel(True)),
    "one element": single,
    "an iterator of the run": iterated,
    "a seed": seeded,
    "a loop": mapped,
    "an image": image,
    "examples": parsed,
    "texts": lambda x: tf.strings.to_number(tf.strings.as_string(x)),
    "asserted": lambda x: tf.debugging.assert_all_finite(x, "x") + 1.0,
}
UNSTEADY: dict[str, tuple[Build, str]] = {
    "files by a pattern": (listed, "MatchingFiles"),
    "a mapped file": (mapped_file, "ImmutableConst"),
    "a data set of a file": (
        lambda x: x + tf.strings.to_number(lines("/dev/null")),
        "TextLineDataset",
    ),
    "a shuffled data set": (
        lambda x: x + drawn(tf.data.Dataset.range(3).shuffle(3).map(float32)),
        "ShuffleDatasetV3",
    ),
    "in parallel, as they come": (
        lambda x: x + drawn(parallel(False)),
        "ParallelMapDatasetV2",
    ),
    "random numbers in a data set": (
        lambda x: x + drawn(tf.data.Dataset.range(3).map(noise)),
        "RandomUniform",
    ),
    "the time": (lambda x: x + tf.cast(tf.timestamp(), tf.float32), "Timestamp"),
    "random pools": (
        lambda x: tf.reshape(
            tf.nn.fractional_max_pool(tf.reshape(x, [1, -1, 1, 1]), [1, 1, 1, 1])[0],
            [-1, 1],
        ),
        "FractionalMaxPool",
    ),
    "noise around an image": (
        lambda x: (
            x
            + tf.reduce_sum(
                tf.image.extract_glimpse(
                    tf.ones([1, 2, 2, 1]), [9, 9], tf.zeros([1, 2])
                )
            )
        ),
        "ExtractGlimpseV2",
    ),
    "the order of a table": (first_key, "LookupTableExportV2"),
    "a random shuffle": (tf.random.shuffle, "RandomShuffle"),
    "random numbers times zero": (
        lambda x: x + 0.0 * tf.random.normal([1]),
        "RandomStandardNormal",
    ),
    "batches of several runs": (
        tf.nondifferentiable_batch_function(1, 1, 1)(lambda y: y * 2.0),
        "BatchFunction",
    ),
}


def float32(i: Any) -> Any:
    return tf.cast(i, tf.float32)


def noise(_: Any) -> Any:
    return raw.RandomUniform(shape=tf.zeros([0], tf.int32), dtype=tf.float32)


def lines(path: str) -> Any:
    return tf.data.TextLineDataset(path).reduce("0", lambda _, line: line)


@pytest.mark.parametrize("what", STEADY)
def test_what_is_a_function_of_its_inputs_is_steady(
    tmp_path: Path, staged: Stage, what: str
) -> None:
    servable = Servable(staged(newer(tmp_path / "m", STEADY[what])))
    assert servable.description.unsteady == ()
    assert answer(servable, 3.0) == answer(servable, 3.0)


@pytest.mark.parametrize("what", UNSTEADY)
def test_what_is_not_known_to_be_one_is_unsteady(tmp_path: Path, what: str) -> None:
    build, op = UNSTEADY[what]
    assert op in unsteady(newer(tmp_path / "m", build))


def test_python_is_unsteady(tmp_path: Path) -> None:
    """It cannot be served elsewhere either; but the process that saved it has it."""
    for number, call in enumerate((tf.numpy_function, tf.py_function)):

        def f(x: Any, call: Any = call) -> Any:
            return tf.ensure_shape(call(lambda v: v, [x], tf.float32), [None, 1])

        found = unsteady(newer(tmp_path / f"{number}", f))
        assert found & {"PyFunc", "EagerPyFunc", "PyFuncStateless"}


def with_table(path: Path, words: Any, file: Any) -> Path:
    """A model that looks words up in a table; `words` makes what fills it."""
    table = tf.lookup.StaticHashTable(words(file), -1)
    return save(
        path, lambda x: {"y": table.lookup(x)}, [spec("x", "string")], state=table
    )


def from_text(file: Any) -> Any:
    line = tf.lookup.TextFileIndex
    return tf.lookup.TextFileInitializer(
        file, tf.string, line.WHOLE_LINE, tf.int64, line.LINE_NUMBER
    )


def test_a_table_of_an_asset_is_steady(tmp_path: Path, staged: Stage) -> None:
    """The file is a part of the version: another one is another version."""
    words = tmp_path / "words.txt"
    words.write_text("a\nb\n")
    path = with_table(tmp_path / "m", from_text, str(words))
    words.write_text("b\na\n")
    version = staged(path)
    assert Description.read(version.directory).unsteady == ()
    answers = Servable(version).run([("b",)])
    assert json.loads(answers[0]) == {"y": 1}


@pytest.mark.parametrize("name", ["../words.txt", "{folder}/words.txt"])
def test_an_asset_outside_the_version_is_unsteady(tmp_path: Path, name: str) -> None:
    words = tmp_path / "words.txt"
    words.write_text("a\nb\n")
    path = with_table(tmp_path / "m", from_text, str(words))
    shutil.copy(words, path)
    saved_model = SavedModel.FromString((path / "saved_model.pb").read_bytes())
    saved_model.meta_graphs[0].asset_file_def[0].filename = name.format(folder=tmp_path)
    (path / "saved_model.pb").write_bytes(saved_model.SerializeToString())
    assert unsteady(path) == {"InitializeTableFromTextFileV2"}


def test_a_path_in_a_variable_that_is_written_twice_is_unsteady(tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("a\nb\n")
    path = with_table(tmp_path / "m", from_text, str(words))
    saved_model = SavedModel.FromString((path / "saved_model.pb").read_bytes())
    graph = saved_model.meta_graphs[0].graph_def
    (first,) = (n for n in graph.node if n.op == "AssignVariableOp")
    elsewhere = graph.node.add(name="elsewhere", op="Const")
    elsewhere.attr["dtype"].type = tf.string.as_datatype_enum
    elsewhere.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(str(words)))
    second = graph.node.add()
    second.CopyFrom(first)
    second.name = "second"
    second.input[:] = [first.input[0], "elsewhere", f"^{first.name}"]
    for node in graph.node:
        if node.op == "ReadVariableOp" and f"^{first.name}" in node.input:
            node.input.append("^second")
    (path / "saved_model.pb").write_bytes(saved_model.SerializeToString())
    assert unsteady(path) == {"InitializeTableFromTextFileV2"}


def test_a_table_of_a_file_elsewhere_is_unsteady(tmp_path: Path) -> None:
    """Two workers may load it at two times, and find two files."""
    words = tmp_path / "words.txt"
    words.write_text("a\nb\n")
    v1 = tf.compat.v1
    with v1.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.string, [None], "x")
        table = raw.HashTableV2(key_dtype=tf.string, value_dtype=tf.int64)
        init = raw.InitializeTableFromTextFileV2(
            table_handle=table, filename=str(words), key_index=-2, value_index=-1
        )
        y = raw.LookupTableFindV2(
            table_handle=table, keys=x, default_value=tf.constant(-1, tf.int64)
        )
        v1.saved_model.simple_save(
            session, str(tmp_path / "m"), {"x": x}, {"y": y}, legacy_init_op=init
        )
    assert unsteady(tmp_path / "m") == {"InitializeTableFromTextFileV2"}


def test_random_contents_of_a_variable_are_unsteady(tmp_path: Path) -> None:
    """Each worker would draw its own."""
    v1 = tf.compat.v1
    with v1.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None, 1], "x")
        local = [v1.GraphKeys.LOCAL_VARIABLES]
        shift = v1.get_variable(
            "shift", [1], collections=local, initializer=v1.random_normal_initializer()
        )
        init = v1.local_variables_initializer()
        session.run(init)
        v1.saved_model.simple_save(
            session, str(tmp_path / "m"), {"x": x}, {"y": x + shift}, init
        )
    assert unsteady(tmp_path / "m")


@pytest.mark.parametrize(
    ("ops", "writes"),
    [
        ((), False),
        (("RandomUniform", "ReadFile"), False),
        (("AssignAddVariableOp",), True),
        (("RandomUniform", "SomethingOfALibrary"), True),
    ],
)
def test_what_is_unknown_may_write(ops: tuple[str, ...], writes: bool) -> None:
    assert may_write(ops) == writes
