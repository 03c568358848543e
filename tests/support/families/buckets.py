"""Models that bucketize their inputs."""

from pathlib import Path
from typing import Any

import tensorflow as tf

from tests.support.families.parts import number
from tests.support.saved_models import save, spec


def buckets(path: Path) -> Path:
    """Bucketize, twice, of a float; and of integers that float32 cannot hold."""
    edges = [-1.5, 0.0, 0.1, 3e38]
    big = [-3.0, 16777220.0, 33554432.0]

    def f(x: Any, n: Any) -> Any:
        a = tf.raw_ops.Bucketize(input=x, boundaries=edges)
        b = tf.raw_ops.Bucketize(input=tf.squeeze(x, 1), boundaries=[0.1, 2.0])
        c = tf.raw_ops.Bucketize(input=n, boundaries=big)
        return {"y": number(a * 100 + tf.expand_dims(b, 1) * 10 + c)}

    return save(path, f, [spec("x"), spec("n", "int64")])


def narrowed_to_buckets(path: Path) -> Path:
    def f(x: Any, n: Any) -> Any:
        edges = [0.1, 1e8]
        a = tf.raw_ops.Bucketize(input=number(x), boundaries=edges)
        b = tf.raw_ops.Bucketize(input=number(n), boundaries=edges)
        return {"y": a * 10 + b}

    return save(path, f, [spec("x", "float64"), spec("n", "int64")])


def buckets_of_narrow_floats(path: Path) -> Path:
    """Floats that are rounded when fed, some of them across a boundary."""

    def f(x: Any, z: Any) -> Any:
        edges = [-1e-9, 0.1, 1.0, 3.3]
        a = tf.raw_ops.Bucketize(input=number(x), boundaries=edges)
        b = tf.raw_ops.Bucketize(input=number(z), boundaries=edges)
        return {"y": a * 10 + b}

    return save(path, f, [spec("x", "float16"), spec("z", "bfloat16")])


def bucketized_and_used(path: Path) -> Path:
    def f(x: Any) -> Any:
        return {"y": number(tf.raw_ops.Bucketize(input=x, boundaries=[1.0])) + x}

    return save(path, f, [spec("x")])


def bucketized_and_compared(path: Path) -> Path:
    def f(n: Any) -> Any:
        bucket = tf.raw_ops.Bucketize(input=n, boundaries=[5.0, 9.0])
        return {"y": number(bucket) + 0.5 * number(tf.equal(n, 7))}

    return save(path, f, [spec("n", "int32")])
