"""Further signatures: which are staged, what they share, what is refused."""

from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from gomlx.errors import StageFailed
from gomlx.models.serving.servable import Description, Servable
from gomlx.models.staging.progress import Progress
from gomlx.models.staging.stage import stage
from gomlx.models.version import InputSettings, ModelVersion, Settings, StageRequest
from tests.support.saved_models import spec


def saved(path: Path, **functions: Any) -> Path:
    """Save a model with a signature y = f(x) for each function of x and a weight, 3."""
    module = tf.Module()
    module.weight = tf.Variable([3.0] * 4096)

    def function(f: Any) -> Any:
        return tf.function(
            lambda x: {"y": f(x, module.weight)}, input_signature=[spec("x")]
        )

    signatures = {name: function(f) for name, f in functions.items()}
    module.functions = signatures
    tf.saved_model.save(module, str(path), signatures=signatures)
    return path


def own(x: Any, weight: Any) -> Any:
    return x * weight[0]


def twice(x: Any, weight: Any) -> Any:
    return 2.0 * x * weight[1]


def several(path: Path) -> Path:
    return saved(path, serving_default=own, twice=twice, serve=own)


def request(source: Path, **options: Any) -> StageRequest:
    options = {"signatures": None, **options}
    return StageRequest("m", str(source), source.parent / "staged", "", {}, **options)


def names(version: ModelVersion) -> list[str]:
    return [one.name for one in version.further]


def answer(version: ModelVersion, x: float) -> bytes:
    servable = Servable(version)
    rows = servable.signature.check({"x": x}).rows
    (found,) = servable.run(rows)
    servable.close()
    return found


def test_all_signatures_are_staged(tmp_path: Path) -> None:
    version = stage(request(several(tmp_path / "m")))
    assert version.signature == "serving_default"
    assert names(version) == ["m:serve", "m:twice"]
    assert [answer(one, 2.0) for one in (version, *version.further)] == [
        b'{"y":6.0}',
        b'{"y":6.0}',
        b'{"y":12.0}',
    ]


def test_one_function_under_two_names_is_staged_once(tmp_path: Path) -> None:
    version = stage(request(several(tmp_path / "m")))
    serve, twice = version.further
    assert (serve.digest, serve.directory) == (version.digest, version.directory)
    assert twice.digest != version.digest
    assert [path.name for path in twice.directory.parent.iterdir()] == [twice.digest]


def test_what_is_said_of_the_own_signature_makes_it_another_function(
    tmp_path: Path,
) -> None:
    settings = Settings(inputs=(InputSettings("x", precision=1),))
    version = stage(request(several(tmp_path / "m"), settings=settings))
    (serve, _) = version.further
    assert serve.digest != version.digest
    kinds = [(one.directory / "dictionary").read_bytes() for one in (version, serve)]
    assert kinds[0] != kinds[1]


def test_signatures_share_the_files_of_equal_weights(tmp_path: Path) -> None:
    version = stage(request(several(tmp_path / "m")))
    (_, twice) = version.further
    (first,) = (version.directory / "weights").iterdir()
    (second,) = (twice.directory / "weights").iterdir()
    assert first.samefile(second)


@pytest.mark.parametrize(("wanted", "expected"), [((), []), (("twice",), ["m:twice"])])
def test_the_config_limits_them(
    tmp_path: Path, wanted: tuple[str, ...], expected: list[str]
) -> None:
    version = stage(request(several(tmp_path / "m"), signatures=wanted))
    assert names(version) == expected
    assert not version.refused


def test_other_signatures_are_added_to_a_version_that_is_there(tmp_path: Path) -> None:
    source = several(tmp_path / "m")
    alone = stage(request(source, signatures=()))
    more = stage(request(source))
    assert (alone.digest, names(more)) == (more.digest, ["m:serve", "m:twice"])
    assert stage(request(source)) == more


def test_a_signature_that_cannot_be_served_is_refused_alone(tmp_path: Path) -> None:
    def fails(x: Any, _: Any) -> Any:
        with tf.control_dependencies([tf.debugging.Assert(False, ["no"])]):
            return tf.identity(x)

    def complex_(x: Any, _: Any) -> Any:
        return tf.cast(x, tf.complex64)

    source = saved(
        tmp_path / "m", serving_default=own, fails=fails, complex=complex_, twice=twice
    )
    version = stage(request(source))
    assert names(version) == ["m:twice"]
    assert "dtype complex64 is not supported" in version.refused["m:complex"]
    assert "no" in version.refused["m:fails"]
    assert not version.may_gain
    assert stage(request(source)) == version


def test_a_signature_that_is_not_there_is_refused(tmp_path: Path) -> None:
    version = stage(request(several(tmp_path / "m"), signatures=("none",)))
    assert "has no signature 'none'; it has: serve, serving_def" in str(version.refused)


def test_a_name_that_no_request_can_have_is_refused(tmp_path: Path) -> None:
    module = tf.Module()
    module.f = tf.function(lambda x: {"y": x}, input_signature=[spec("x")])
    signatures = {"serving_default": module.f, "../a b": module.f}
    tf.saved_model.save(module, str(tmp_path / "m"), signatures=signatures)
    version = stage(request(tmp_path / "m"))
    assert not version.further
    assert "its name is not one that a request can have" in version.refused["m:../a b"]


def test_what_ended_an_earlier_process_is_not_tried_again(tmp_path: Path) -> None:
    source = several(tmp_path / "m")
    begun: list[str] = []
    refused = {"twice": "the staging process ended with code -6"}
    version = stage(request(source, refused=refused), Progress(begun.append))
    assert begun == ["serve"]
    assert names(version) == ["m:serve"]
    assert version.refused == {"m:twice": refused["twice"]}
    assert version.may_gain
    assert names(stage(request(source))) == ["m:serve", "m:twice"]


def test_no_signature_is_served_without_the_own_one(tmp_path: Path) -> None:
    source = saved(tmp_path / "m", a=own, b=twice)
    with pytest.raises(StageFailed, match=r"it has: a, b: choose one by `signature:`"):
        stage(request(source))


def test_examples_of_the_same_input_are_those_of_the_config(tmp_path: Path) -> None:
    """As tf.estimator exports them: one tensor, under two names."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        texts = tf.compat.v1.placeholder(tf.string, [None], "input_example_tensor")
        x = tf.io.parse_example(texts, {"x": tf.io.FixedLenFeature([], tf.float32)})
        scores = tf.identity(x["x"] * 2.0)
        build = tf.compat.v1.saved_model.build_tensor_info
        define = tf.compat.v1.saved_model.signature_def_utils.build_signature_def
        definitions = {
            "serving_default": define(
                {"inputs": build(texts)}, {"scores": build(scores)}, "regress"
            ),
            "regression": define(
                {"inputs": build(texts)}, {"scores": build(scores)}, "regress"
            ),
            "predict": define(
                {"examples": build(texts)}, {"all": build(x["x"] + 1.0)}, "predict"
            ),
        }
        builder = tf.compat.v1.saved_model.Builder(str(tmp_path / "m"))
        builder.add_meta_graph_and_variables(session, ["serve"], definitions)
        builder.save()
    feature = tf.train.Feature(float_list=tf.train.FloatList(value=[1.5]))
    one = tf.train.Example(features=tf.train.Features(feature={"x": feature}))
    text = {"b64": b64encode(one.SerializeToString()).decode()}
    wanted = StageRequest(
        "m", str(tmp_path / "m"), tmp_path / "staged", "", {"inputs": text}
    )
    version = stage(StageRequest(**vars(wanted) | {"signatures": None}))
    assert names(version) == ["m:predict", "m:regression"]
    predict, regression = version.further
    assert regression.digest == version.digest
    assert Description.read(predict.directory).example == {"examples": text}
