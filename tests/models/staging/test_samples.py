"""The values that are tried: known ones, and those near the example and constants."""

from gomlx.contract.canonical import Auxiliary, Buckets, Exact, Kind, Vocabulary
from gomlx.contract.dtypes import ANY
from gomlx.contract.tensor import Block, Tensor, Value
from gomlx.models.staging.samples import Samples, samples

WORDS = frozenset({"rome", "oslo", "lima"})
WORD = Tensor("w", "string", (1,))
NUMBER = Tensor("x", "float32", (1,))


def of_one(tensor: Tensor, kind: Kind, example: Value) -> Samples:
    """Samples for a model of one input, compared with the constant 70."""
    return samples([tensor], [kind], [()], [70], (example,))


def test_known_words_and_an_unknown_one_are_tried() -> None:
    found = of_one(WORD, Vocabulary(WORDS, "[UNK]", ""), "")
    assert {value for (value,) in found.rows()} == {*WORDS, "[UNK]"}
    assert {value for (value,) in found.crowd()} == WORDS


def test_a_value_of_every_bucket_is_tried() -> None:
    found = of_one(NUMBER, Buckets("float32", (1.0, 5.0), 0, ""), 0.0)
    assert {value for (value,) in found.rows()} == {0, 1.0, 5.0}


def test_numbers_near_the_example_and_around_a_constant_come_first() -> None:
    found = of_one(NUMBER, Exact("float32", ""), 0.0)
    values = [value for (value,) in found.rows()]
    assert values[:6] == [1, 70, -1, 71, 3, 69]
    assert len(set(values)) == len(values)


def test_only_values_that_the_dtype_holds_are_tried() -> None:
    tensor = Tensor("n", "uint8", (1,))
    found = of_one(tensor, Exact("uint8", ""), 0)
    values = [value for (value,) in found.rows()]
    assert all(isinstance(x, int) and 0 <= x <= 255 for x in values)


def test_auxiliary_inputs_keep_the_value_of_the_example() -> None:
    auxiliary = Tensor("who", ANY, ())
    kinds: list[Kind] = [Exact("float32", ""), Auxiliary(True, "")]
    found = samples([NUMBER, auxiliary], kinds, [()], [], (0.0, "me"))
    assert {who for _, who in found.rows()} == {"me"}


def test_rows_have_the_shape_of_the_example() -> None:
    tensor = Tensor("x", "float32", (3,))
    example = tensor.block((3,), (0.0, 0.0, 0.0))
    for (value,) in of_one(tensor, Exact("float32", ""), example).rows():
        assert isinstance(value, Block)
        assert value.shape == (3,)
        assert len(tensor.elements(value)) == 3


def test_the_scale_is_that_of_the_numbers_within_limits() -> None:
    found = of_one(NUMBER, Exact("float32", ""), 0.0)
    scales = [found.scale((x,)) for x in (0.5, -20.0, 1e9)]
    assert scales == [1.0, 20.0, 1000.0]
    words = of_one(WORD, Exact("string", ""), "")
    assert words.scale(("1000",)) == 1.0


def test_every_staging_tries_the_same_values() -> None:
    kind = Vocabulary(frozenset(f"word {n}" for n in range(1000)), "[UNK]", "")
    one = of_one(WORD, kind, "")
    two = of_one(WORD, kind, "")
    assert list(one.rows()) == list(two.rows())
