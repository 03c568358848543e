"""A custom runtime of MLServer, with its cache on."""

import json
from pathlib import Path

from gomlx.conformance.formats.in_python import RECIPE, write_version
from gomlx.conformance.recipe import Recipe

_RUNTIME = """

import json

from mlserver import MLModel
from mlserver.errors import InferenceError
from mlserver.types import InferenceResponse, ResponseOutput

TYPES = {"score": "FP32", "stamp": "INT64", "total": "FP32", "quotient": "INT64"}


class Runtime(MLModel):
    async def load(self):
        with open(self.settings.parameters.uri) as file:
            self.recipe = json.load(file)
        return True

    async def predict(self, payload):
        count = payload.inputs[0].shape[0]
        columns = {i.name: column(i, count) for i in payload.inputs}
        rows = [{k: v[i] for k, v in columns.items()} for i in range(count)]
        with open(self.recipe["runs"], "a") as runs:
            runs.writelines(f"{row}\\n" for row in rows)
        try:
            answers = [answer(self.recipe, row) for row in rows]
        except ZeroDivisionError as error:
            raise InferenceError(str(error)) from None
        wanted = [one.name for one in payload.outputs or []] or list(answers[0])
        return InferenceResponse(
            model_name=self.name, model_version=self.version, id=payload.id,
            outputs=[ResponseOutput(
                name=name, datatype=TYPES[name], shape=[count, 1],
                data=[one[name] for one in answers]) for name in wanted])


def column(tensor, count):
    data = list(flat(tensor.data.root))
    if len(tensor.shape) < 3:
        return data
    lines, width = tensor.shape[1:]
    rows = [data[i * width:(i + 1) * width] for i in range(count * lines)]
    return [rows[i * lines:(i + 1) * lines] for i in range(count)]


def flat(values):
    for value in values:
        if isinstance(value, list):
            yield from flat(value)
        else:
            yield value.decode() if isinstance(value, bytes) else value
"""


def write(folder: Path, number: int, recipe: Recipe, runs: Path) -> None:
    """Write folder/NUMBER with the version's settings and its runtime."""
    version = folder / str(number)
    write_version(version, recipe, runs, "conformance_runtime.py", _RUNTIME)
    settings = {
        "name": folder.name,
        "implementation": "conformance_runtime.Runtime",
        "cache_enabled": True,
        "parameters": {
            "version": str(number),
            "uri": str((version / RECIPE).absolute()),
        },
    }
    (version / "model-settings.json").write_text(json.dumps(settings))
