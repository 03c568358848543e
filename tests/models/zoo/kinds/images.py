"""Models of images: arrays of pixels, and files in a text."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tests.models.zoo.kinds.text import encoded
from tests.models.zoo.situation import Body, Situation, of
from tests.support.saved_models import save, spec


def pixels(seed: int, *shape: int) -> Any:
    """Return nested lists of the numbers of an image."""
    return np.random.default_rng(seed).integers(0, 256, shape).tolist()


def pictures(name: str, *shapes: Sequence[int]) -> list[Body]:
    return [{name: pixels(seed, *shape)} for seed, shape in enumerate(shapes)]


def enlarged(path: Path) -> Path:
    import keras as k

    k.utils.set_random_seed(10)
    image = k.Input((4, 5, 3), name="image")
    hidden = k.layers.Rescaling(1 / 255)(image)
    hidden = k.layers.Conv2DTranspose(4, 3, strides=2, padding="same")(hidden)
    hidden = k.layers.Reshape((-1, 4))(hidden)
    y = k.layers.Conv1DTranspose(2, 3)(hidden)
    k.Model(image, {"y": y}).export(str(path), verbose=False)
    return path


def spectra(image: Any) -> Any:
    return {
        "image": tf.abs(tf.signal.rfft2d(image)),
        "lines": tf.math.real(tf.signal.rfft(image)),
    }


def classified(path: Path) -> Path:
    """A convolutional network with BatchNormalization and pooling."""
    import keras as k

    k.utils.set_random_seed(9)
    layers = k.layers
    image = k.Input((8, 8, 3), name="image", dtype="uint8")
    x = layers.Rescaling(1 / 255)(image)
    x = layers.Conv2D(4, 3, strides=2, activation="relu")(x)
    x = layers.BatchNormalization()(x)
    x = layers.DepthwiseConv2D(2, padding="same")(x)
    x = layers.MaxPooling2D(2)(layers.ZeroPadding2D(1)(x))
    y = layers.Dense(3, "softmax")(layers.Flatten()(x))
    k.Model(image, {"y": y}).export(str(path), verbose=False)
    return path


def of_any_size(path: Path) -> Path:
    kernel = tf.Variable(
        np.random.default_rng(5).standard_normal((3, 3, 3, 4)).astype("float32")
    )

    def f(image: Any) -> Any:
        found = tf.nn.conv2d(tf.cast(image, tf.float32) / 255, kernel, 1, "SAME")
        return {"y": tf.reduce_mean(tf.nn.relu(found), [1, 2])}

    return save(path, f, [spec("image", "uint8", (None, None, None, 3))], kernel)


def resized(image: Any) -> Any:
    """Images of any size, resized in the graph."""
    small = tf.image.resize(tf.cast(image, tf.float32), [4, 4])
    return {"y": tf.reduce_mean(small, [1, 2])}


def from_files(data: Any) -> Any:
    """PNG files, decoded one by one and resized."""

    def one(content: Any) -> Any:
        image = tf.io.decode_png(content, 3)
        return tf.image.resize(tf.cast(image, tf.float32), [4, 4])

    images = tf.map_fn(one, data, fn_output_signature=tf.float32)
    return {"y": tf.reduce_mean(images, [1, 2])}


def png(seed: int, *shape: int) -> dict[str, str]:
    image = np.array(pixels(seed, *shape), np.uint8)
    return encoded(tf.io.encode_png(image).numpy())


def mask_of(image: Any) -> Any:
    """A mask as large as the image, as segmentation answers it."""
    bright = tf.reduce_mean(tf.cast(image, tf.float32), 3)
    return {"mask": tf.cast(bright > 127.0, tf.uint8)}


ANY_SIZE = spec("image", "uint8", (None, None, None, 3))

SITUATIONS = [
    Situation(
        "a convolutional network over images of one size",
        classified,
        pictures("image", (8, 8, 3), (8, 8, 3), (8, 8, 3)),
        rounds=True,
    ),
    Situation(
        "convolutions over images of any size",
        of_any_size,
        pictures("image", (5, 4, 3), (5, 4, 3), (2, 7, 3)),
        rounds=True,
    ),
    Situation(
        "images made larger by transposed convolutions",
        enlarged,
        pictures("image", (4, 5, 3), (4, 5, 3), (4, 5, 3)),
        rounds=True,
    ),
    Situation(
        "the spectrum of an image, and of each of its lines",
        of(spectra, spec("image", shape=(None, 4, 6))),
        pictures("image", (4, 6), (4, 6), (4, 6)),
        rounds=True,
    ),
    Situation(
        "images of any size, resized in the graph",
        of(resized, ANY_SIZE),
        pictures("image", (5, 4, 3), (5, 4, 3), (2, 7, 3)),
        rounds=True,
    ),
    Situation(
        "a mask as large as the image",
        of(mask_of, ANY_SIZE),
        pictures("image", (3, 2, 3), (3, 2, 3), (1, 4, 3)),
    ),
    Situation(
        "PNG files, decoded in the graph",
        of(from_files, spec("data", "string", (None,))),
        [{"data": png(seed, 3 + seed, 4, 3)} for seed in range(3)],
        joins=False,
        rounds=True,
        config={"example": {"data": png(0, 2, 2, 3)}},
    ),
]
