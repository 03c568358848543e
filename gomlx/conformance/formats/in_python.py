"""A version of a model that is Python: its recipe, and the formulas with a runtime."""

import json
from pathlib import Path

from gomlx.conformance import formulas
from gomlx.conformance.recipe import Recipe

RECIPE = "recipe.json"


def write_version(
    version: Path, recipe: Recipe, runs: Path, module: str, runtime: str
) -> None:
    """Write the recipe and a module: the formulas, and a server's runtime after them.

    The module appends a line to the file `runs` for each row that it runs.
    """
    version.mkdir(parents=True, exist_ok=True)
    document = recipe.document() | {"runs": str(runs.absolute())}
    (version / RECIPE).write_text(json.dumps(document))
    source = Path(formulas.__file__).read_text()
    (version / module).write_text(source + runtime)
