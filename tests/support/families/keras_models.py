"""Keras 3 models with preprocessing layers."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from tests.support.families.parts import WORDS


def keras_lookups(path: Path) -> Path:
    """A mask token, no out-of-vocabulary index, and an input in two layers."""
    import keras as k

    k.utils.set_random_seed(5)
    layers = k.layers
    city = k.Input((1,), name="city", dtype="string")
    day = k.Input((1,), name="day", dtype="int64")
    price = k.Input((1,), name="price", dtype="float32")
    masked = layers.StringLookup(vocabulary=WORDS[:2], mask_token="none")
    adapted = layers.StringLookup()
    adapted.adapt(np.array(["lima", "rome"]))
    days = layers.IntegerLookup(vocabulary=[1, 2, 3], mask_token=0)
    bins = layers.Discretization(bin_boundaries=[0.1, 5.0])
    parts = [
        layers.Embedding(4, 3)(masked(city)),
        layers.Embedding(3, 3)(adapted(city)),
        layers.Embedding(5, 3)(days(day)),
        layers.Embedding(3, 3)(bins(price)),
    ]
    hidden = layers.Flatten()(layers.Concatenate()(parts))
    score = layers.Dense(1, name="score")(hidden)
    k.Model([city, day, price], {"score": score}).export(str(path), verbose=False)
    return path


def saved_keras(path: Path) -> Path:
    """A model as tf.saved_model.save writes it, with a vocabulary from a file."""
    import keras as k

    words = path.with_suffix(".txt")
    words.write_text("rome\noslo\n")
    city = k.Input((1,), name="city", dtype="string")
    lookup = k.layers.StringLookup(vocabulary=str(words))
    tf.saved_model.save(k.Model(city, lookup(city)), str(path))
    words.unlink()
    return path


def keras_oov(path: Path) -> Path:
    import keras as k

    city = k.Input((1,), name="city", dtype="string")
    day = k.Input((1,), name="day", dtype="int64")
    cities = k.layers.StringLookup(vocabulary=WORDS[:2], num_oov_indices=2)
    days = k.layers.IntegerLookup(vocabulary=[1, 2], num_oov_indices=3)
    outputs = {"a": cities(city), "b": days(day)}
    k.Model([city, day], outputs).export(str(path), verbose=False)
    return path
