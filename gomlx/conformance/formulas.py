"""What the models compute, in plain Python.

Models in Python begin with a copy of this file, so that it imports nothing
of ours.
"""

from typing import Any


def answer(recipe: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    """Return a row's outputs. Raises ZeroDivisionError for `fragile` and n = 13."""
    return FORMULAS[recipe["kind"]](recipe, row)


def words(recipe: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    """A weight for each of two words; a stamp that tells the version and the row."""
    weights = recipe["weights"]
    index = {word: place for place, word in enumerate(recipe["vocabulary"], 1)}
    first = weights[index.get(row["a"], 0)]
    second = weights[index.get(row["b"], 0)]
    return {"score": first + 100.0 * second, "stamp": row["n"] * 1000 + recipe["mark"]}


def cube(recipe: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    """The sum of the largest number of each line: it depends on the shape."""
    return {"total": float(sum(max(line) for line in row["x"]))}


def fragile(recipe: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    """A division, which fails for n = 13."""
    return {"quotient": 1000 // (row["n"] - 13)}


FORMULAS = {"words": words, "cube": cube, "fragile": fragile}
