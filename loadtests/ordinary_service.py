"""The service that people write first: python -m loadtests.ordinary_service MODEL PORT

FastAPI, uvicorn and TensorFlow, as tutorials have it: a body that is checked by its
types, a tensor made of each value, the signature called, the output taken out. It is
here to be compared with; its extra is `bench`.
"""

import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()
model: Any = None


class Row(BaseModel):
    """Ten inputs, as in loadtests/keys.py."""

    i0: str
    i1: str
    i2: str
    i3: str
    i4: str
    i5: str
    i6: int
    i7: int
    i8: float
    i9: float


@app.post("/predict")
def predict(row: Row) -> dict[str, float]:
    """Run the model on one row."""
    inputs = {
        name: tf.constant([[value]], tf.int64 if isinstance(value, int) else None)
        for name, value in row.model_dump().items()
    }
    outputs = model.signatures["serving_default"](**inputs)
    return {"late": float(outputs["late"].numpy()[0][0])}


def build(path: Path) -> Path:
    """Export a ranking model: six words, two numbers, a bucket and a float."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(1)
    words = layers.StringLookup(vocabulary=[f"word-{n}" for n in range(10_000)])
    numbers = layers.IntegerLookup(vocabulary=list(range(1000)))
    bucket = layers.Discretization(bin_boundaries=[float(n) for n in range(20)])
    inputs = {
        f"i{n}": keras.Input((1,), name=f"i{n}", dtype="string") for n in range(6)
    }
    inputs |= {f"i{n}": keras.Input((1,), name=f"i{n}", dtype="int64") for n in (6, 7)}
    inputs |= {f"i{n}": keras.Input((1,), name=f"i{n}") for n in (8, 9)}
    indices = [(words(inputs[f"i{n}"]), words.vocabulary_size()) for n in range(6)]
    indices += [(numbers(inputs[f"i{n}"]), numbers.vocabulary_size()) for n in (6, 7)]
    indices.append((bucket(inputs["i8"]), 21))
    parts = [layers.Flatten()(layers.Embedding(size, 8)(i)) for i, size in indices]
    hidden = layers.Concatenate()([*parts, inputs["i9"]])
    for units in (64, 32):
        hidden = layers.Dense(units, activation="relu")(hidden)
    late = layers.Dense(1, activation="sigmoid", name="late")(hidden)
    keras.Model(inputs, {"late": late}).export(str(path), verbose=False)
    return path


def main() -> None:
    global model  # noqa: PLW0603  # as it is written everywhere
    path, port = Path(sys.argv[1]), int(sys.argv[2])
    model = tf.saved_model.load(str(path if path.exists() else build(path)))
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main()
