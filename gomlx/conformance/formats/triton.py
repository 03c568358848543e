"""A model of Triton's Python backend, with its response cache on."""

from pathlib import Path

from gomlx.conformance.formats.in_python import write_version
from gomlx.conformance.recipe import DTYPES, INPUTS, MATRICES, OUTPUTS, Recipe

_TYPES = {"string": "TYPE_STRING", "int64": "TYPE_INT64", "float32": "TYPE_FP32"}
_MODEL = """

import json
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb

DTYPES = {"score": np.float32, "stamp": np.int64, "total": np.float32,
          "quotient": np.int64}


class TritonPythonModel:
    def initialize(self, args):
        folder = Path(args["model_repository"]) / args["model_version"]
        self.recipe = json.loads((folder / "recipe.json").read_text())

    def execute(self, requests):
        return [self.respond(request) for request in requests]

    def respond(self, request):
        inputs = {i.name(): i.as_numpy() for i in request.inputs()}
        count = len(next(iter(inputs.values())))
        rows = [{k: plain(v[i]) for k, v in inputs.items()} for i in range(count)]
        with open(self.recipe["runs"], "a") as runs:
            runs.writelines(f"{row}\\n" for row in rows)
        try:
            answers = [answer(self.recipe, row) for row in rows]
        except ZeroDivisionError as error:
            return pb.InferenceResponse([], pb.TritonError(str(error)))
        return pb.InferenceResponse([
            pb.Tensor(name, np.array([[one[name]] for one in answers], DTYPES[name]))
            for name in answers[0] if name in request.requested_output_names()
        ])


def plain(value):
    value = value.tolist()
    if value and isinstance(value[0], list):
        return value
    (value,) = value
    return value.decode() if isinstance(value, bytes) else value
"""


def write(folder: Path, number: int, recipe: Recipe, runs: Path) -> None:
    """Write folder/NUMBER, and the model's config."""
    write_version(folder / str(number), recipe, runs, "model.py", _MODEL)
    (folder / "config.pbtxt").write_text(_config(folder.name, recipe.kind))


def _config(name: str, kind: str) -> str:
    return f"""\
name: "{name}"
backend: "python"
max_batch_size: 64
response_cache {{ enable: true }}
version_policy {{ latest {{ num_versions: 2 }} }}
instance_group [ {{ kind: KIND_CPU }} ]
input [ {", ".join(map(_tensor, INPUTS[kind]))} ]
output [ {", ".join(map(_tensor, OUTPUTS[kind]))} ]
"""


def _tensor(name: str) -> str:
    dims = "[ -1, -1 ]" if name in MATRICES else "[ 1 ]"
    return f'{{ name: "{name}" data_type: {_TYPES[DTYPES[name]]} dims: {dims} }}'
