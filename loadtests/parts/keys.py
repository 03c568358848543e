"""The cost of canonical rows and keys: python -m loadtests.parts.keys

A row has ten inputs: six words (two of them out of vocabulary), two numbers, a bucket
and a rounded float. Prints the best of several repeats, in microseconds.
"""

from collections.abc import Sequence
from timeit import repeat

from gomlx.contract.canonical import Buckets, Kind, Rounded, Vocabulary
from gomlx.contract.dictionary import Dictionary
from gomlx.contract.signature import Signature
from gomlx.contract.tensor import Row, Tensor

WORDS = Vocabulary(frozenset(f"word-{n}" for n in range(10_000)), "[UNK]", "")
NUMBERS = Vocabulary(frozenset(range(1000)), -1, "")
BUCKETS = Buckets("float32", tuple(map(float, range(20))), -1.0, "")
ROUNDED = Rounded("float32", 2, "")
KINDS: list[Kind] = [
    WORDS,
    WORDS,
    WORDS,
    WORDS,
    WORDS,
    WORDS,
    NUMBERS,
    NUMBERS,
    BUCKETS,
    ROUNDED,
]
DTYPES = ["string"] * 6 + ["int64"] * 2 + ["float32"] * 2
ROW: Row = ("word-0", "word-1", "word-2", "word-3", "x", "y", 3, 4000, 4.5, 2.256)


def microseconds(dictionary: Dictionary, rows: Sequence[Row]) -> float:
    """Return the cost of the keys of some rows."""
    number = 20_000 // len(rows)
    runs = repeat(lambda: dictionary.keys(dictionary.canonical(rows)), number=number)
    return min(runs) / number * 1e6


def main() -> None:
    """Print the cost of one row and of a hundred."""
    inputs = tuple(Tensor(f"i{n}", dtype, (1,)) for n, dtype in enumerate(DTYPES))
    dictionary = Dictionary("0" * 32, Signature(inputs, ()), KINDS)
    for rows in (1, 100):
        cost = microseconds(dictionary, [ROW] * rows)
        print(f"{rows:3} rows: {cost:6.1f} us")  # noqa: T201


if __name__ == "__main__":
    main()
