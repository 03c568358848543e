"""Families of SavedModels: those whose inputs collapse, and those whose must not.

A family is a function that saves a model to a path, and what is proved of its inputs.
"""

from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from tests.support.families import (
    buckets,
    comparisons,
    control_flow,
    keras_models,
    tables,
)

Save = Callable[[Path], Path]

# name → the function, and the kind of each input.
COLLAPSING: dict[str, tuple[Save, dict[str, str]]] = {
    "two tables": (tables.two_tables, {"w": "vocabulary"}),
    "mutable table": (tables.mutable_table, {"w": "vocabulary"}),
    "masked": (comparisons.masked, {"n": "vocabulary", "w": "vocabulary"}),
    "branches": (control_flow.branches, {"n": "vocabulary", "w": "vocabulary"}),
    "buckets": (buckets.buckets, {"n": "buckets", "x": "buckets"}),
    "integers": (tables.integers, {"b": "vocabulary", "n": "vocabulary"}),
    "vectors": (tables.vectors, {"a": "vocabulary", "b": "vocabulary"}),
    "one hash bucket": (tables.one_hash_bucket, {"w": "vocabulary"}),
    "of the batch": (tables.of_the_batch, {"n": "vocabulary", "w": "vocabulary"}),
    "keras": (
        keras_models.keras_lookups,
        {"city": "vocabulary", "day": "vocabulary", "price": "buckets"},
    ),
    "saved keras": (keras_models.saved_keras, {"inputs": "vocabulary"}),
    "TensorFlow 1": (control_flow.tensorflow_1, {"w": "vocabulary"}),
    # Its answers get the word back from the row.
    "fetched": (tables.fetched, {"w": "vocabulary"}),
}

# Models that an incautious analysis would collapse wrongly: name → the function, and
# the inputs that must be exact.
EXACT: dict[str, tuple[Save, tuple[str, ...]]] = {
    "two out-of-vocabulary buckets": (tables.oov_buckets, ("w",)),
    "Keras out-of-vocabulary indices": (keras_models.keras_oov, ("city", "day")),
    "hash": (tables.of_text(lambda w: tf.strings.to_hash_bucket_fast(w, 7)), ("w",)),
    "length": (tables.of_text(tf.strings.length), ("w",)),
    "regex": (tables.of_text(lambda w: tf.strings.regex_full_match(w, "r.*")), ("w",)),
    "substring": (tables.of_text(lambda w: tf.strings.substr(w, 0, 1) == "r"), ("w",)),
    "split": (
        tables.of_text(lambda w: tf.strings.split(w[:, 0]).row_lengths()[:, None]),
        ("w",),
    ),
    "lower-casing": (tables.lowered, ("w",)),
    "raw in a branch": (control_flow.raw_in_a_branch, ("w",)),
    "raw in a case": (control_flow.raw_in_a_case, ("n", "w")),
    "raw after an iteration": (control_flow.raw_after_an_iteration, ("w",)),
    "decides a loop": (control_flow.decides_a_loop, ("n",)),
    "compared with another": (comparisons.compared_with_another, ("a", "b")),
    "joined and compared": (comparisons.joined_and_compared, ("a", "b")),
    "default": (tables.default_of_another, ("other",)),
    "dense table": (tables.dense_table, ("n",)),
    "written table": (tables.written_table, ("w",)),
    "narrowed to a table": (tables.narrowed_to_table, ("n",)),
    "narrowed to buckets": (buckets.narrowed_to_buckets, ("n", "x")),
    "buckets of narrow floats": (buckets.buckets_of_narrow_floats, ("x", "z")),
    "bucketized and used": (buckets.bucketized_and_used, ("x",)),
    "bucketized and compared": (buckets.bucketized_and_compared, ("n",)),
    "compared with itself": (comparisons.counted_in_the_row, ("w",)),
    "asserted": (control_flow.asserted, ("w",)),
    "a variable": (comparisons.shared_variable, ("w",)),
}

# Families in which the values of one row can change the answer to another.
ROWS_APART = (
    "TensorFlow 1",
    "branches",
    "decides a loop",
    "of the batch",
    "raw in a branch",
    "raw in a case",
    "written table",
)
