"""Staging: dtypes, shapes, versions, batches, and the state of models."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from gomlx.errors import RunFailed
from gomlx.models.graph import extract_init_constants
from gomlx.models.serving import session as tf_session
from gomlx.models.serving.servable import Description, Servable
from gomlx.models.version import ModelVersion
from tests.support import saved_models
from tests.support.saved_models import save, spec

Stage = Callable[..., ModelVersion]


def predict(servable: Servable, columns: dict[str, Any]) -> list[Any]:
    """Return the answers to the rows of a request body."""
    rows = servable.signature.check(columns).rows
    return [json.loads(answer) for answer in servable.run(rows)]


DTYPES: dict[str, list[Any]] = {
    "string": ["a", "ä€😀", ""],
    "bool": [True, False, True],
    **{f"int{n}": [-(2 ** (n - 1)), 0, 2 ** (n - 1) - 1] for n in (8, 16, 32, 64)},
    **{f"uint{n}": [0, 1, 2**n - 1] for n in (8, 16, 32, 64)},
    "float16": [0.5, -2.0, 65504.0],
    "bfloat16": [0.5, -2.0, 3.0],
    "float32": [0.1, -1e-7, 3.4e38],
    "float64": [0.1, -1e-300, 1.7e308],
}
SHAPES: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "n": ((None,), lambda v: v),
    "n,1": ((None, 1), lambda v: v),
    "n,2": ((None, 2), lambda v: [v, v]),
    "n,any": ((None, None), lambda v: [v, v, v]),
    "n,2,any": ((None, 2, None), lambda v: [[v], [v]]),
    "unknown": (None, lambda v: [[v, v]]),
}


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_goes_in_and_out(tmp_path: Path, staged: Stage, dtype: str) -> None:
    servable = Servable(staged(saved_models.echo(tmp_path / "m", dtype, (None, 1))))
    values = DTYPES[dtype]
    answers = predict(servable, {"x": values, "batch_size": len(values)})
    found = [answer["y"] for answer in answers]
    if dtype == "float16":  # its shortest digits are few: 65500 is 65504
        found = [float(np.float16(value)) for value in found]
    assert found == values


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["string", "int32", "float32"])
def test_every_rank_goes_in_and_out(
    tmp_path: Path, staged: Stage, shape: str, dtype: str
) -> None:
    dims, nested = SHAPES[shape]
    servable = Servable(staged(saved_models.echo(tmp_path / "m", dtype, dims)))
    columns = [nested({"string": "q", "int32": 3, "float32": 1.5}[dtype])] * 3
    answers = predict(servable, {"x": columns, "batch_size": 3})
    assert [answer["y"] for answer in answers] == columns


def test_rows_of_different_shapes_in_one_batch(tmp_path: Path, staged: Stage) -> None:
    servable = Servable(
        staged(saved_models.echo(tmp_path / "m", "int64", (None, None)))
    )
    columns: list[Any] = [[1], [1, 2], [], [3], [4, 5]]
    answers = predict(servable, {"x": columns, "batch_size": 5})
    assert [answer["y"] for answer in answers] == columns


def test_binary_strings(tmp_path: Path, staged: Stage) -> None:
    servable = Servable(staged(saved_models.echo(tmp_path / "m", "string", (None, 1))))
    assert predict(servable, {"x": {"b64": "//4="}}) == [{"y": {"b64": "//4="}}]


def test_many_outputs_in_the_order_of_their_names(
    tmp_path: Path, staged: Stage
) -> None:
    def f(x: Any) -> Any:
        text = tf.strings.as_string(x)
        return {"b": x * 2, "a": text, "c": tf.tile(x, [1, 3]), "d": x > 1.0}

    servable = Servable(staged(save(tmp_path / "m", f, [spec("x")])))
    rows = servable.signature.check({"x": 1.5}).rows
    expected = b'{"a":"1.500000","b":3.0,"c":[1.5,1.5,1.5],"d":true}'
    assert servable.run(rows) == [expected]


def test_keras_answers_as_tensorflow_does(tmp_path: Path, staged: Stage) -> None:
    source = saved_models.keras(tmp_path / "m")
    servable = Servable(staged(source))
    ordinary = tf.saved_model.load(str(source)).signatures["serving_default"]
    for city in ("rome", "oslo", "nowhere", ""):
        for day in (1, 3, 99):
            for price in (0.5, 1.0, 7.0):
                (answer,) = predict(
                    servable, {"city": city, "day": day, "price": price}
                )
                (theirs,) = ordinary(
                    city=tf.constant([[city]]),
                    day=tf.constant([[day]], tf.int64),
                    price=tf.constant([[price]]),
                ).values()
                assert np.float32(answer["score"]) == theirs.numpy()[0, 0]


def test_the_version_depends_on_files_and_not_on_their_times(
    tmp_path: Path, staged: Stage
) -> None:
    source = saved_models.scale(tmp_path / "m", 2.0)
    first = staged(source)
    copy = Path(shutil.copytree(source, tmp_path / "elsewhere"))
    (copy / "notes.txt").write_text("not served")
    for path in copy.rglob("*"):
        os.utime(path, (1, 1))
    assert staged(copy, name="again").digest == first.digest


def test_the_version_does_not_depend_on_the_order_of_files(
    tmp_path: Path, staged: Stage
) -> None:
    """Most file systems list files in the order of their creation."""
    source = saved_models.scale(tmp_path / "m", 2.0)
    files = [p.relative_to(source) for p in sorted(source.rglob("*")) if p.is_file()]
    digests = set()
    for name, order in (("forth", files), ("back", files[::-1])):
        for file in order:
            target = tmp_path / name / file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((source / file).read_bytes())
        digests.add(staged(tmp_path / name, name=name).digest)
    assert len(digests) == 1


def test_the_version_depends_on_the_weights(tmp_path: Path, staged: Stage) -> None:
    source = saved_models.scale(tmp_path / "m", 2.0)
    first = staged(source)
    (data,) = (source / "variables").glob("*.data*")
    other = saved_models.scale(tmp_path / "other", 3.0)
    (new,) = (other / "variables").glob("*.data*")
    before = hashlib.sha256(data.read_bytes()).digest()
    assert hashlib.sha256(new.read_bytes()).digest() != before
    shutil.rmtree(source / "variables")
    shutil.copytree(other / "variables", source / "variables")
    assert staged(source).digest != first.digest


def test_weights_are_mapped_files_and_stored_once(
    tmp_path: Path, staged: Stage
) -> None:
    version = staged(saved_models.embedding(tmp_path / "m", 4))
    description = Description.read(version.directory)
    (variable,) = description.state.variables
    assert variable.kind == "mapped"
    file = version.directory / "weights" / variable.file
    assert file.stat().st_size == 4 * 2**20
    assert not (version.directory / "saved_model" / "variables").exists()
    servable = Servable(version)
    assert servable.signature.names == ("x",)
    assert str(file) in Path("/proc/self/maps").read_text()


def test_only_what_serving_needs_is_staged(tmp_path: Path, staged: Stage) -> None:
    version = staged(saved_models.keras(tmp_path / "m"))
    variables = Description.read(version.directory).state.variables
    assert len(variables) == 5  # three embeddings, a kernel, a bias


@pytest.mark.parametrize("make", [saved_models.dice, saved_models.counter])
def test_unsteady_models_are_found(tmp_path: Path, staged: Stage, make: Any) -> None:
    version = staged(make(tmp_path / "m"))
    assert Description.read(version.directory).unsteady


@pytest.mark.parametrize("make", [saved_models.keras, saved_models.dense])
def test_steady_models_are_found(tmp_path: Path, staged: Stage, make: Any) -> None:
    version = staged(make(tmp_path / "m"))
    assert not Description.read(version.directory).unsteady


def test_a_model_that_writes_its_variable_still_runs(
    tmp_path: Path, staged: Stage
) -> None:
    servable = Servable(staged(saved_models.counter(tmp_path / "m")))
    (first,) = predict(servable, {"x": 0.0})
    (second,) = predict(servable, {"x": 0.0})
    assert second["y"] == first["y"] + 1


def of_words(f: Callable[[Any], Any], count: int = 3) -> Callable[[Path], Path]:
    """Return a function that saves a model of what is looked up for words."""

    def build(path: Path) -> Path:
        words = tf.constant([f"word {n}" for n in range(count)])
        numbers = tf.range(1.0, count + 1.0)
        table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(words, numbers), 0.5
        )
        of = [spec("w", "string")]
        return save(path, lambda w: {"y": f(table.lookup(w))}, of, table)

    return build


def of_numbers(f: Callable[[Any], Any], dtype: str = "int64") -> Callable[[Path], Path]:
    return lambda path: save(path, lambda n: {"y": f(n)}, [spec("n", dtype)])


def bucket(x: Any) -> Any:
    found = tf.raw_ops.Bucketize(input=x, boundaries=[-500.0, 2.5, 7000.0])
    return tf.cast(found, tf.float32)


def some(condition: Any) -> Any:
    return tf.where(tf.reduce_any(condition), 10.0, 0.0)


def is_number(n: Any, number: int) -> Any:
    return tf.cast(tf.equal(n, number), tf.float32)


def after_the_first(n: Any) -> Any:
    return is_number(n, 3) + tf.where(n[0, 0] == 7, 1.0, 0.0)


def twice(n: Any) -> Any:
    """Equal values count once."""
    _, places = tf.unique(tf.reshape(tf.cast(tf.equal(n, 7), tf.int64), [-1]))
    return tf.cast(tf.cumsum(places), tf.float32)[:, None]


DISTURBED_BY_WORDS_AND_NUMBERS: dict[str, Callable[[Path], Path]] = {
    "words, one of many": of_words(lambda z: z + some(tf.equal(z, 77.0)), 200),
    "number, any": of_numbers(lambda n: is_number(n, 3) + some(tf.equal(n, 7))),
    "number, two of them": of_numbers(
        lambda n: (
            is_number(n, 3) + abs(some(tf.equal(n, 70)) - some(tf.equal(n, 70_000)))
        )
    ),
    "number, all": of_numbers(
        lambda n: tf.where(tf.reduce_all(tf.equal(n, 98765)), 1.0, is_number(n, 3))
    ),
    "number, the first": of_numbers(after_the_first),
    "number, twice": of_numbers(twice),
    "buckets, of floats": of_numbers(
        lambda x: bucket(x) + some(tf.equal(bucket(x), 3.0)), "float32"
    ),
    "float, rare": of_numbers(lambda x: x + some(tf.equal(x, 98765.0)), "float32"),
    "float, large": of_numbers(lambda x: x + some(x + 1.0 > 98765.0), "float32"),
    "float, small": of_numbers(lambda x: x + some((x > 0.0) & (x < 0.1)), "float32"),
    "word, any": lambda path: save(
        path,
        lambda w: {
            "y": tf.cast(tf.equal(w, "a"), tf.float32) + some(tf.equal(w, "rare"))
        },
        [spec("w", "string")],
    ),
}


@pytest.mark.parametrize("what", DISTURBED_BY_WORDS_AND_NUMBERS)
def test_rows_that_disturb_each_other_by_words_and_numbers_run_alone(
    tmp_path: Path, staged: Stage, what: str
) -> None:
    version = staged(DISTURBED_BY_WORDS_AND_NUMBERS[what](tmp_path / "m"))
    assert not Description.read(version.directory).joins_rows


def test_rows_run_together_though_the_model_refuses_unknown_words(
    tmp_path: Path, staged: Stage
) -> None:
    """Keras refuses a whole batch for one unknown word if it has no index for it."""
    import keras as k

    city = k.Input((1,), name="city", dtype="string")
    day = k.Input((1,), name="day", dtype="int64")
    cities = k.layers.StringLookup(vocabulary=["rome", "oslo"], num_oov_indices=0)
    days = k.layers.IntegerLookup(vocabulary=[11, 12, 13], num_oov_indices=0)
    found = {"city": cities(city), "day": days(day)}
    k.Model([city, day], found).export(str(tmp_path / "m"), verbose=False)
    example = {"city": "rome", "day": 12}
    servable = Servable(staged(tmp_path / "m", example=example))
    assert servable.description.joins_rows
    several = {"city": ["oslo", "rome"], "day": [13, 11], "batch_size": 2}
    known = [{"city": 1, "day": 2}, {"city": 0, "day": 0}]
    assert predict(servable, several) == known
    for unknown in ({"city": "lima"}, {"day": 1}):
        with pytest.raises(RunFailed, match="should be in vocabulary"):
            predict(servable, example | unknown)


def test_rows_that_do_not_disturb_each_other_run_together(
    tmp_path: Path, staged: Stage
) -> None:
    steady = staged(saved_models.dense(tmp_path / "d"), name="d")
    assert Description.read(steady.directory).joins_rows


def test_variables_of_strings_and_of_no_elements(tmp_path: Path, staged: Stage) -> None:
    names = tf.Variable(["zero", "one"])
    nothing = tf.Variable(tf.zeros([0, 1]))

    def f(x: Any) -> Any:
        return {
            "name": tf.gather(names, x),
            "size": x + tf.cast(tf.size(nothing), x.dtype),
        }

    source = save(tmp_path / "m", f, [spec("x", "int64")], [names, nothing])
    assert predict(Servable(staged(source)), {"x": 1}) == [{"name": "one", "size": 1}]


def test_a_table_from_an_asset_file(tmp_path: Path, staged: Stage) -> None:
    words = tmp_path / "words.txt"
    words.write_text("red\ngreen\n")
    table = tf.lookup.StaticVocabularyTable(
        tf.lookup.TextFileInitializer(
            str(words),
            tf.string,
            tf.lookup.TextFileIndex.WHOLE_LINE,
            tf.int64,
            tf.lookup.TextFileIndex.LINE_NUMBER,
        ),
        num_oov_buckets=2,
    )
    source = save(
        tmp_path / "m", lambda w: {"y": table.lookup(w)}, [spec("w", "string")], table
    )
    words.unlink()
    version = staged(source)
    shutil.rmtree(source)
    assert predict(Servable(version), {"w": "green"}) == [{"y": 1}]


@pytest.mark.parametrize("serves_words", [False, True])
def test_a_large_vocabulary_is_kept_from_the_optimizer(
    tmp_path: Path, staged: Stage, serves_words: bool
) -> None:
    """Unless serving reads it, too."""
    v1 = tf.compat.v1
    words = [f"a-word-of-some-length-{n}" for n in range(10_000)]
    with v1.Graph().as_default(), v1.Session() as session:
        w = v1.placeholder(tf.string, [None, 1], name="w")
        keys = tf.constant(words, name="keys")
        numbers = tf.constant(np.arange(10_000), name="numbers")
        table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(keys, numbers), -1
        )
        y = table.lookup(w)
        outputs = {"y": y, "z": tf.gather(keys, tf.maximum(y, 0))}
        if not serves_words:
            del outputs["z"]
        init = v1.tables_initializer()
        v1.saved_model.simple_save(
            session, str(tmp_path / "m"), {"w": w}, outputs, legacy_init_op=init
        )
    constants = extract_init_constants(tf_session.parse(tmp_path / "m"))
    assert set(constants) == (
        {"numbers:0"} if serves_words else {"keys:0", "numbers:0"}
    )
    servable = Servable(staged(tmp_path / "m"))
    for word, number in ((words[9_999], 9_999), ("else", -1)):
        expected = {"y": number, "z": words[max(number, 0)]}
        assert predict(servable, {"w": word}) == [{k: expected[k] for k in outputs}]


def test_a_model_of_tensorflow_1(tmp_path: Path, staged: Stage) -> None:
    """Variables of the old reference form, and the tag set of that time."""
    v1 = tf.compat.v1
    with v1.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None, 1], name="x")
        weight = v1.get_variable("w", initializer=[[4.0]], use_resource=False)
        y = tf.matmul(x, weight)
        session.run(v1.global_variables_initializer())
        v1.saved_model.simple_save(session, str(tmp_path / "m"), {"x": x}, {"y": y})
    assert predict(Servable(staged(tmp_path / "m")), {"x": 2.5}) == [{"y": 10.0}]
