"""What workers map is what the checkpoint holds, to the last bit."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from gomlx.errors import StageFailed, StageInterrupted
from gomlx.models.serving import session as tf_session
from gomlx.models.serving import weights
from gomlx.models.serving.servable import Description, Servable
from gomlx.models.staging.progress import Progress
from gomlx.models.staging.stage import stage
from gomlx.models.staging.variables.direct import Direct, opened
from gomlx.models.staging.variables.restoring import restored
from gomlx.models.version import ModelVersion, StageRequest
from gomlx.models.writing import PIECE_BYTES
from tests.support import saved_models
from tests.support.saved_models import save, spec

Stage = Callable[..., ModelVersion]
MAPPED = ["float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8"]
PARSED = ["bool", "bfloat16", "complex64", "string"]
SHAPES = [(), (0, 3), (7,), (3, 5, 2), (65_537,)]


def numbers(dtype: str, shape: tuple[int, ...]) -> Any:
    """Return values of a dtype, of random bits where it has them: NaNs of all kinds."""
    chance = np.random.default_rng(len(dtype) + len(shape))
    if dtype == "string":
        words = [f"word {n}".encode() for n in range(int(np.prod(shape)))]
        return tf.reshape(tf.constant(words, tf.string), shape)
    if dtype == "bool":
        return tf.constant(chance.integers(2, size=shape), tf.bool)
    if dtype == "complex64":  # of which a proto has numbers, and no bits
        return tf.complex(*chance.standard_normal((2, *shape)).astype("float32"))
    kind = tf.as_dtype(dtype)
    size = int(np.prod(shape)) * kind.size
    return tf.constant(
        np.frombuffer(chance.bytes(size), kind.as_numpy_dtype).reshape(shape), kind
    )


def name_of(dtype: str, shape: tuple[int, ...]) -> str:
    return "_".join(map(str, (dtype, *shape)))


def model_of(path: Path, variables: list[Any]) -> Path:
    """A model that depends on variables, and whose answers do not show their values."""

    def f(x: Any) -> Any:
        counts = [tf.raw_ops.Size(input=tf.identity(one)) for one in variables]
        return {"y": x + tf.cast(tf.add_n(counts), tf.float32)}

    return save(path, f, [spec("x")], variables)


def values_of(version: ModelVersion) -> dict[str, Any]:
    """Return the value of each variable, as a worker has it."""
    description = Description.read(version.directory)
    found = {}
    with tf_session.imported(version.directory / "saved_model") as loader:
        session = loader.session
        folder = version.directory / "weights"
        weights.load(session, loader, folder, description.state)
        for one in description.state.variables:
            with session.graph.as_default():
                handle = session.graph.get_operation_by_name(one.op).outputs[0]
                dtype = tf.as_dtype(one.dtype)
                read = tf.raw_ops.ReadVariableOp(resource=handle, dtype=dtype)
            found[one.op] = np.asarray(session.run(read))
    return found


@pytest.fixture(scope="module")
def of_all_kinds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    variables = [
        tf.Variable(numbers(dtype, shape), name=name_of(dtype, shape))
        for dtype in (*MAPPED, *PARSED)
        for shape in SHAPES
    ]
    return model_of(tmp_path_factory.mktemp("kinds") / "m", variables)


def test_every_kind_of_variable(of_all_kinds: Path, staged: Stage) -> None:
    version = staged(of_all_kinds)
    found = values_of(version)
    for dtype in (*MAPPED, *PARSED):
        for shape in SHAPES:
            values = np.asarray(numbers(dtype, shape).numpy())
            name = name_of(dtype, shape)
            if dtype == "string":
                assert found[name].tolist() == values.tolist(), name
            else:
                assert found[name].tobytes() == values.tobytes(), name
    variables = Description.read(version.directory).state.variables
    kinds = {one.dtype: one.kind for one in variables if one.shape == (7,)}
    assert {name for name, kind in kinds.items() if kind == "mapped"} == {*MAPPED}


def direct_of(source: Path) -> Direct | None:
    """Return what writes all variables and tables of a graph."""
    meta_graph = tf_session.parse(source)
    found = restored(meta_graph)
    names = {*found.variables, *found.tables}
    with tf_session.imported(source) as loader:
        return opened(source, meta_graph, loader.session.graph, names)


def test_nothing_of_it_is_restored_as_a_whole(of_all_kinds: Path) -> None:
    """Otherwise the test above would show nothing of this way."""
    direct = direct_of(of_all_kinds)
    assert direct
    assert len(direct.names) == len(SHAPES) * len([*MAPPED, *PARSED])


def test_a_table_that_training_has_filled(tmp_path: Path, staged: Stage) -> None:
    source = saved_models.keras(tmp_path / "m")
    direct = direct_of(source)
    assert direct
    assert "MutableHashTable" in direct.names
    servable = Servable(staged(source))
    rows = servable.signature.check({"city": "oslo", "day": 2, "price": 3.0}).rows
    ordinary = tf.saved_model.load(str(source)).signatures["serving_default"]
    (theirs,) = ordinary(
        city=tf.constant([["oslo"]]),
        day=tf.constant([[2]], tf.int64),
        price=tf.constant([[3.0]]),
    ).values()
    (score,) = servable.outputs(rows)
    assert score.tobytes() == theirs.numpy().tobytes()


def test_partitions_of_a_variable(tmp_path: Path, staged: Stage) -> None:
    """TensorFlow 1 saves them as slices of one tensor."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        table = v1.get_variable(
            "table",
            (10, 3),
            initializer=v1.random_normal_initializer(),
            use_resource=True,
            partitioner=v1.fixed_size_partitioner(3),
        )
        x = v1.placeholder(tf.int64, [None], "x")
        rows = v1.nn.embedding_lookup(table, x, partition_strategy="div")
        y = tf.reduce_sum(rows, 1)
        session.run(v1.global_variables_initializer())
        values = session.run(tf.convert_to_tensor(table))
        v1.saved_model.simple_save(session, str(tmp_path / "m"), {"x": x}, {"y": y})
    direct = direct_of(tmp_path / "m")
    assert direct
    version = staged(tmp_path / "m")
    found = values_of(version)
    assert [*found] == [f"table/part_{n}" for n in range(3)]
    assert b"".join(one.tobytes() for one in found.values()) == values.tobytes()


def test_two_handles_of_one_variable(tmp_path: Path, staged: Stage) -> None:
    """What serving reads is not what is restored, though it is the same variable."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        weight = v1.get_variable("weight", initializer=[2.5], use_resource=True)
        again = tf.raw_ops.VarHandleOp(
            dtype=tf.float32, shape=[1], shared_name="weight", name="again"
        )
        x = v1.placeholder(tf.float32, [None], "x")
        y = x * tf.raw_ops.ReadVariableOp(resource=again, dtype=tf.float32)
        session.run(weight.initializer)
        v1.saved_model.simple_save(session, str(tmp_path / "m"), {"x": x}, {"y": y})
    servable = Servable(staged(tmp_path / "m"))
    rows = servable.signature.check({"x": 2.0}).rows
    (found,) = servable.outputs(rows)
    assert found.tolist() == [5.0]


def two_tables(path: Path, first: Any, second: Any) -> Path:
    """A model with two variables of megabytes."""
    variables = [tf.Variable(first, name="first"), tf.Variable(second, name="second")]
    return model_of(path, variables)


def test_what_an_earlier_version_has_is_linked(tmp_path: Path, staged: Stage) -> None:
    """Of the second variable, only the last piece differs."""
    chance = np.random.default_rng(3)
    first = chance.random(1000, np.float32)
    second = chance.random((PIECE_BYTES + 1000) // 4, np.float32)
    old = staged(two_tables(tmp_path / "a", first, second))
    second[-1] += 1
    new = staged(two_tables(tmp_path / "b", first, second))
    assert old.digest != new.digest
    files = {version: file_of(version) for version in (old, new)}
    assert files[old]["first"].samefile(files[new]["first"])
    assert not files[old]["second"].samefile(files[new]["second"])
    assert files[new]["second"].read_bytes() == second.tobytes()
    shutil.rmtree(old.directory)
    assert values_of(new)["first"].tobytes() == first.tobytes()


def file_of(version: ModelVersion) -> dict[str, Path]:
    state = Description.read(version.directory).state
    return {one.op: version.directory / "weights" / one.file for one in state.variables}


def test_damaged_variables(tmp_path: Path, staged: Stage) -> None:
    source = saved_models.embedding(tmp_path / "m", 1)
    (data,) = (source / "variables").glob("*.data*")
    content = bytearray(data.read_bytes())
    content[500_000] ^= 1
    data.write_bytes(content)
    with pytest.raises(StageFailed, match="damaged: its checksum is another one"):
        staged(source)
    data.write_bytes(content[:500_000])
    with pytest.raises(StageFailed, match="damaged: its file is too short"):
        staged(source)


def bytes_in(folder: Path) -> int:
    files = (path for path in folder.rglob("*") if not path.is_symlink())
    return sum(path.stat().st_size for path in files if path.is_file())


def test_a_staging_writes_each_weight_once(tmp_path: Path) -> None:
    """Files of this machine are not copied."""
    source = saved_models.embedding(tmp_path / "m", 8)
    request = request_of(source, tmp_path / "staged")
    seen: list[int] = []
    stage(request, Progress(on_phase=lambda _: seen.append(bytes_in(request.into))))
    assert 8 << 20 < max(*seen, bytes_in(request.into)) < 9 << 20


def request_of(source: Path, into: Path) -> StageRequest:
    return StageRequest("m", str(source), into, "serving_default", {})


@pytest.mark.parametrize("phase", ["its variables are written", "rows are tried"])
def test_files_that_change_while_they_are_read(tmp_path: Path, phase: str) -> None:
    """The graph of one export never has variables of another."""
    source = saved_models.scale(tmp_path / "m", 2.0)
    other = saved_models.scale(tmp_path / "other", 3.0)
    request = request_of(source, tmp_path / "staged")

    def change(begun: str) -> None:
        if begun.startswith(phase):
            shutil.rmtree(source / "variables")
            shutil.copytree(other / "variables", source / "variables")

    with pytest.raises(StageInterrupted, match="the files changed while they were"):
        stage(request, Progress(on_phase=change))
    assert not any(request.into.iterdir())


def test_files_that_vanish_while_they_are_read(tmp_path: Path) -> None:
    source = saved_models.scale(tmp_path / "m", 2.0)
    request = request_of(source, tmp_path / "staged")

    def remove(begun: str) -> None:
        if begun.startswith("its variables are written"):
            shutil.rmtree(source)

    with pytest.raises(StageInterrupted):
        stage(request, Progress(on_phase=remove))
    assert not any(request.into.iterdir())
