"""The models under load, and what each of their versions answers, by TensorFlow itself.

The rows of `ranked` have a word and a number, which no other row has:

    y = weight(word) * x + shift     near = x, x * shift, shift     label = the word's
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from loadtests.load.traffic import Rows

WORDS = 100
_UNKNOWN = 10  # of so many more words in the rows
Row = Mapping[str, Any]


def save_ranked(path: Path, shift: float) -> Path:
    """Save a version, in which all answers are others. shift: tells versions apart."""
    import tensorflow as tf

    from tests.support.saved_models import save, spec

    words = tf.constant([f"w{n}" for n in range(WORDS)])
    places = tf.range(WORDS, dtype=tf.int64)
    table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(words, places), default_value=WORDS
    )
    values = [[shift + n / 7] for n in range(WORDS + 1)]
    weights = tf.Variable(values, dtype=tf.float32)
    labels = tf.constant([f"{shift:g} {n}" for n in range(WORDS + 1)])

    def ranked(word: Any, x: Any) -> Any:
        place = table.lookup(tf.reshape(word, [-1]))
        near = tf.concat([x, x * shift, tf.zeros_like(x) + shift], 1)
        y = tf.gather(weights, place) * x + shift
        return {"y": y, "near": near, "label": tf.gather(labels, place)}

    return save(path, ranked, [spec("word", "string"), spec("x")], [table, weights])


def ranked_rows() -> Rows:
    """Return rows of `save_ranked`, some with words that it does not know."""
    numbers = range(WORDS + _UNKNOWN)
    return Rows(templates=tuple(b'{"word":"w%d","x":%%d}' % n for n in numbers))


def save_slow(path: Path, size: int = 700) -> Path:
    """Save a model whose runs take some milliseconds: y = 2 x."""
    import tensorflow as tf

    from tests.support.saved_models import save, spec

    matrix = tf.Variable(tf.eye(size))

    def slow(x: Any) -> Any:
        return {"y": 2.0 * x + 0.0 * tf.reduce_sum(matrix @ matrix)}

    return save(path, slow, [spec("x")], matrix)


def plain_rows() -> Rows:
    """Return rows of models with one input, x."""
    return Rows(templates=(b'{"x":%d}',))


@dataclass
class Answers:
    """What every known version answers. paths: SavedModels by the version's digest."""

    paths: dict[str, Path] = field(default_factory=dict)
    _functions: dict[str, Any] = field(default_factory=dict)

    def learn(self, digest: str, path: Path) -> None:
        """Know a version from now on."""
        self.paths[digest] = path

    def expected(self, digest: str, rows: Sequence[Row]) -> list[Row]:
        """Return the answers of a version. Raises KeyError if it is not known."""
        import tensorflow as tf

        path = self.paths[digest]
        if digest not in self._functions:
            loaded = tf.saved_model.load(str(path))
            self._functions[digest] = (loaded, loaded.signatures["serving_default"])
        _, function = self._functions[digest]
        fed = {}
        for one in function.structured_input_signature[1].values():
            column = [[row[one.name]] for row in rows]
            fed[one.name] = tf.constant(column, one.dtype)
        outputs = {name: value.numpy() for name, value in function(**fed).items()}
        return [
            {name: _plain(values[n]) for name, values in outputs.items()}
            for n in range(len(rows))
        ]


def _plain(value: Any) -> Any:
    """Return a row's output as an answer has it, with floats of its own precision."""
    if isinstance(value, bytes):
        return value.decode()
    array = np.atleast_1d(value)
    return array.tolist() if array.size > 1 else array.ravel()[0].item()


def is_same(expected: Row, answer: object) -> bool:
    """Tell whether an answer is exactly the expected one, in float32."""
    if not isinstance(answer, dict) or {*answer} != {*expected}:
        return False
    return all(_is_equal(value, answer[name]) for name, value in expected.items())


def _is_equal(expected: Any, value: Any) -> bool:
    if isinstance(expected, str):
        return bool(value == expected)
    numbers = value if isinstance(value, list) else [value]
    wanted = expected if isinstance(expected, list) else [expected]
    if not all(isinstance(one, int | float) for one in numbers):
        return False
    return isinstance(value, list) == isinstance(expected, list) and np.array_equal(
        np.array(numbers, np.float32), np.array(wanted, np.float32)
    )


def rows_of(requests: Iterable[bytes]) -> list[Row]:
    """Return the row in the body of each request."""
    return [json.loads(request.partition(b"\r\n\r\n")[2]) for request in requests]
