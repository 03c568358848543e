"""The shape of the code stays within its limits (python -m loadtests.shape)."""

import ast
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from loadtests.code.syntax import Measured
from loadtests.shape import Shape, in_folder, shape_of

ROOT = Path(__file__).parents[1]
MOST_FILES = {"gomlx/cli": 16, "gomlx/client": 16}
SOURCE = '''
class Thing:
    """It has three fields."""

    size: int

    def __init__(self) -> None:
        self.size, self.left = 1, 2
        (self.right,) = (3,) if self.size and self.left else (4,)
'''


@pytest.fixture(scope="module", params=["gomlx", "loadtests"])
def shape(request: pytest.FixtureRequest) -> Shape:
    return shape_of(in_folder(ROOT, request.param))


def over(measured: Sequence[Measured], limit: int) -> list[Measured]:
    return [one for one in measured if one.value > limit]


def test_a_folder_shows_a_dozen_files(shape: Shape) -> None:
    for folder in shape.folders:
        assert folder.value <= MOST_FILES.get(folder.place, 14), folder


def test_a_function_fits_on_a_screen(shape: Shape) -> None:
    assert not over(shape.functions, 40)


def test_an_object_has_few_fields(shape: Shape) -> None:
    assert not over(shape.objects, 10)


def test_one_assignment_a_line(shape: Shape) -> None:
    assert sum(one.value for one in shape.tuples) < shape.lines / 1000


def test_one_assignment_a_line_in_tests() -> None:
    shape = shape_of(in_folder(ROOT, "tests"))
    assert sum(one.value for one in shape.tuples) < shape.lines / 1000


def test_no_cycles(shape: Shape) -> None:
    assert not shape.cycles


def aliases(texts: Mapping[str, str]) -> Iterator[str]:
    """Yield the names of types that modules assign, but not of type variables."""
    for text in texts.values():
        for node in ast.parse(text).body:
            if isinstance(node, ast.Assign) and not is_type_variable(node.value):
                names = (one.id for one in node.targets if isinstance(one, ast.Name))
                yield from (
                    one for one in names if one[0].isupper() and not one.isupper()
                )


def is_camel_case(name: str) -> bool:
    return name[0].isupper() and not name.isupper()


def is_type_variable(value: ast.expr) -> bool:
    return isinstance(value, ast.Call) and ast.unparse(value.func) == "TypeVar"


def test_a_name_is_of_one_class_or_alias() -> None:
    texts = in_folder(ROOT, "gomlx")
    names = [one.place.partition(":")[2] for one in shape_of(texts).objects]
    names = [one for one in names if not one.startswith("_")]
    names += aliases(texts)
    assert not {name for name in names if names.count(name) > 1}


def test_what_is_an_alias() -> None:
    text = 'Row = tuple[int, ...]\nT = TypeVar("T")\nLIMIT = 3\nx = Row\n'
    assert [*aliases({"a.py": text})] == ["Row"]


def test_what_is_counted() -> None:
    texts = {
        "a/one.py": f"from a.two import x\n{SOURCE}",
        "a/two.py": "from a import one\nx, y = 1, 2\nx, y = one.both()\n",
    }
    found = shape_of(texts)
    assert [one.value for one in found.folders] == [2]
    assert [one.value for one in found.objects] == [3]
    assert [one.value for one in found.functions] == [3]
    assert [one.value for one in found.complexities] == [3]
    assert sum(one.value for one in found.tuples) == 2
    assert [one.place for one in found.cycles] == ["a.one → a.two"]
