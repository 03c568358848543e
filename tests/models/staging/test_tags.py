"""The graph of a SavedModel that is served is chosen by its tags."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow as tf

from gomlx.errors import StageFailed
from gomlx.models.serving.servable import Servable
from gomlx.models.version import ModelVersion, Settings

Stage = Callable[..., ModelVersion]
v1 = tf.compat.v1


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A SavedModel of two graphs with one variable: y = 2 x for serving, else y = x."""
    path = tmp_path / "source"
    builder = v1.saved_model.Builder(str(path))
    for tags, factor in (["train"], 1.0), (["serve", "gpu"], 2.0):
        with v1.Graph().as_default(), v1.Session() as session:
            x = v1.placeholder("float32", [None, 1], "x")
            y = x * v1.get_variable("ones", [1], initializer=v1.ones_initializer())
            signature = v1.saved_model.predict_signature_def(
                {"x": x}, {"y": y * factor}
            )
            signatures = {"serving_default": signature}
            session.run(v1.global_variables_initializer())
            if factor == 1.0:
                builder.add_meta_graph_and_variables(session, tags, signatures)
            else:
                builder.add_meta_graph(tags, signatures)
    builder.save()
    return path


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("tags", "expected"), [(("train",), 3.0), (("gpu", "serve"), 6.0)]
)
def test_the_graph_with_the_tags_is_served(
    source: Path, staged: Stage, tags: tuple[str, ...], expected: float
) -> None:
    servable = Servable(staged(source, settings=Settings(tags=tags)))
    (row,) = servable.signature.check({"x": [3.0]}).rows

    assert json.loads(servable.run([row])[0]) == {"y": expected}


def test_the_error_lists_the_tags_that_exist(source: Path, staged: Stage) -> None:
    expected = r"tagged \[serve\]; there are: \[train\] and \[gpu, serve\].*`tags:`"
    with pytest.raises(StageFailed, match=expected):
        staged(source)
