"""Models of texts: split, looked up, hashed, parsed."""

import base64
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tests.models.zoo.situation import Body, Build, Situation, of, rows
from tests.support import saved_models
from tests.support.families.parts import static_table
from tests.support.saved_models import save, spec

GENRES = ["Action", "Comedy", "Drama"]
WORD = spec("w", "string", (None,))


def genres(separator: str, width: int | None, is_mean: bool) -> Build:
    """A text of several values: split, padded, looked up, and joined again."""

    def build(path: Path) -> Path:
        table = static_table(GENRES, 0, tf.constant([1, 2, 3], tf.int64))
        weights = tf.Variable([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]])

        def f(w: Any) -> Any:
            words = tf.strings.split(w, separator).to_tensor(shape=[None, width])
            ids = table.lookup(words)
            if is_mean:
                return {"y": tf.reduce_mean(tf.gather(weights, ids), 1)}
            return {"y": tf.reduce_max(tf.one_hot(ids, 4), 1)}

        return save(path, f, [WORD], [table, weights])

    return build


def texts(separator: str) -> list[Body]:
    several = separator.join(["Drama", "Action", "Comedy"])
    return rows("w", ["Drama", several, separator.join(["x", "Comedy"]), ""])


def ragged_mean(path: Path) -> Path:
    """The mean of the words' embeddings, over ragged rows: nothing is padded."""
    table = static_table(GENRES, 0, tf.constant([1, 2, 3], tf.int64))
    weights = tf.Variable([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]])

    def f(w: Any) -> Any:
        words = tf.strings.split(w, "|")
        ids = words.with_flat_values(table.lookup(words.flat_values))
        found = ids.with_flat_values(tf.gather(weights, ids.flat_values))
        return {"y": tf.reduce_mean(found, 1)}

    return save(path, f, [WORD], [table, weights])


def vectorized(mode: str, **options: Any) -> Build:
    """TextVectorization of Keras, and a layer on top of it."""

    def build(path: Path) -> Path:
        import keras as k

        k.utils.set_random_seed(6)
        text = k.Input((1,), name="w", dtype="string")
        layer = k.layers.TextVectorization(
            vocabulary=["good", "bad", "film"], output_mode=mode, **options
        )
        found = layer(text)
        if mode == "int":
            found = k.layers.Embedding(6, 3)(found)
            found = k.layers.GlobalAveragePooling1D()(found)
        y = k.layers.Dense(1)(found)
        k.Model(text, {"y": y}).export(str(path), verbose=False)
        return path

    return build


def by_bars(text: Any) -> Any:
    return tf.strings.split(text, "|")


def ids_in_a_text(w: Any) -> Any:
    parts = tf.strings.split(w, ",").to_tensor("0")
    numbers = tf.strings.to_number(tf.where(parts == "", "0", parts))
    return {"y": tf.reduce_mean(numbers, 1)}


def cleaned(w: Any) -> Any:
    lower = tf.strings.strip(tf.strings.lower(w, "utf-8"))
    clean = tf.strings.regex_replace(lower, "[^a-zü ]", "")
    return {
        "text": clean,
        "bucket": tf.strings.to_hash_bucket_strong(clean, 1000, [1, 2]),
        "length": tf.strings.length(w, "UTF8_CHAR"),
        "start": tf.strings.substr(clean, 0, 2),
        "is_url": tf.strings.regex_full_match(w, "https?://.*"),
    }


def characters(w: Any) -> Any:
    codes = tf.strings.unicode_decode(w, "UTF-8").to_tensor(0, shape=[None, 8])
    return {"codes": codes, "sum": tf.reduce_sum(codes, 1)}


def bigrams(w: Any) -> Any:
    """Pairs of neighbouring words, hashed and counted."""
    grams = tf.strings.ngrams(tf.strings.split(w), 2)
    ids = tf.strings.to_hash_bucket_fast(grams.to_tensor("", shape=[None, 4]), 9)
    return {"y": tf.reduce_sum(tf.one_hot(ids, 9), 1)}


def decoded(data: Any) -> Any:
    """Numbers in bytes, as a client of another language packs them."""
    return {"y": tf.io.decode_raw(data, tf.float32, fixed_length=12) * 2.0}


def examples(length: int | None) -> Build:
    """A receiver of serialized tf.Examples, with a list of fixed or of any length."""

    def parsed(data: Any) -> Any:
        form = (
            tf.io.VarLenFeature(tf.float32)
            if length is None
            else tf.io.FixedLenFeature([length], tf.float32)
        )
        word = tf.io.FixedLenFeature([], tf.string, "?")
        found = tf.io.parse_example(data, {"v": form, "word": word})
        values = found["v"] if length else tf.sparse.to_dense(found["v"], -1.0)
        return {"y": tf.reduce_sum(values, 1), "word": found["word"]}

    return of(parsed, spec("data", "string", (None,)))


def example(values: list[float], word: str | None = None) -> Body:
    numbers = tf.train.Feature(float_list=tf.train.FloatList(value=values))
    feature = {"v": numbers}
    if word is not None:
        text = tf.train.BytesList(value=[word.encode()])
        feature["word"] = tf.train.Feature(bytes_list=text)
    data = tf.train.Example(features=tf.train.Features(feature=feature))
    return {"data": encoded(data.SerializeToString(deterministic=True))}


def encoded(data: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(data).decode()}


SENTENCES = rows("w", ["a good film", "bad", "Good, good film! and more", ""])

SITUATIONS = [
    *(
        Situation(
            f"several values in a text, split at {shown} and padded: {what}",
            genres(separator, None, is_mean),
            texts(separator),
            joins=False,
            rounds=is_mean,
        )
        for separator, shown in (("|", "bars"), (";", "semicolons"), (" ", "blanks"))
        for what, is_mean in (("multi-hot", False), ("mean", True))
    ),
    *(
        Situation(
            f"several values in a text, padded to a fixed width: {what}",
            genres("|", 3, is_mean),
            [*texts("|"), {"w": "x|y|z|u|Drama"}],
            rounds=is_mean,
        )
        for what, is_mean in (("multi-hot", False), ("mean", True))
    ),
    Situation(
        "several values in a text, as ragged rows: mean",
        ragged_mean,
        texts("|"),
        rounds=True,
    ),
    Situation(
        "ids in a text",
        of(ids_in_a_text, WORD),
        rows("w", ["1,2", "3,4,5,6", "7", ""]),
        joins=False,
        rounds=True,
    ),
    Situation(
        "TextVectorization to a fixed length",
        vectorized("int", output_sequence_length=4),
        SENTENCES,
        rounds=True,
    ),
    Situation(
        "TextVectorization to the longest of the batch",
        vectorized("int"),
        SENTENCES[:3],
        joins=False,
        rounds=True,
    ),
    Situation(
        "TextVectorization with a split of its own",
        vectorized("int", split=by_bars, standardize=None),
        rows("w", ["good", "good|bad|film", "x|y"]),
        joins=False,
        rounds=True,
    ),
    Situation(
        "TextVectorization to counts",
        vectorized("count"),
        SENTENCES,
        rounds=True,
    ),
    Situation(
        "texts that are cleaned, hashed and matched",
        of(cleaned, WORD),
        rows("w", [" Rome! ", "https://x", "ÜBER", ""]),
    ),
    Situation(
        "characters, padded to a fixed width",
        of(characters, WORD),
        rows("w", ["rome", "東京", "", "a longer text"]),
    ),
    Situation(
        "pairs of words, hashed and counted",
        of(bigrams, WORD),
        rows("w", ["a b c", "a", "", "a b c d e f g"]),
        rounds=True,
    ),
    Situation(
        "answers of bytes that are no text",
        saved_models.embedded,
        rows("x", [2.0, 1.0, -0.5]),
    ),
    Situation(
        "numbers packed in bytes",
        of(decoded, spec("data", "string", (None,))),
        [
            {"data": encoded(np.array(values, np.float32).tobytes())}
            for values in ([1, 2, 3], [0.5, -1, 1e30])
        ],
    ),
    Situation(
        "serialized tf.Examples of a fixed length",
        examples(2),
        [example([1, 2], "a"), example([3, -4]), example([0, 1e6], "ü")],
        rounds=True,
        config={"example": example([0, 0])},
    ),
    Situation(
        "serialized tf.Examples of lists of any length",
        examples(None),
        [example([1, 2], "a"), example([]), example([5, 6, 7, 8])],
        joins=False,
        rounds=True,
        config={"example": example([0])},
    ),
]
