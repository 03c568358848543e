"""Models with branches, loops, nested functions and control dependencies."""

from pathlib import Path
from typing import Any

import tensorflow as tf

from tests.support.families.parts import WORDS, number, static_table, text
from tests.support.saved_models import save, spec


def branches(path: Path) -> Path:
    """Lookups in both branches of a condition, in a nested function and in a loop."""
    table = static_table(WORDS[:2])
    other = static_table(WORDS[1:4], 3)

    @tf.function  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def nested(w: Any) -> Any:
        return table.lookup(tf.identity(w))

    def f(w: Any, n: Any) -> Any:
        some = tf.reduce_any(tf.equal(n, tf.constant(2, tf.int64)))
        first = tf.cond(some, lambda: nested(w), lambda: other.lookup(w))

        def turn(i: Any, total: Any, w: Any) -> Any:
            return i + 1, total + other.lookup(w), w

        start = (tf.constant(0), tf.zeros_like(first), w)
        _, total, last = tf.while_loop(lambda i, *_: i < 3, turn, start)
        return {"y": number(first + total + table.lookup(last))}

    return save(path, f, [text(), spec("n", "int64")], [table, other])


def tensorflow_1(path: Path) -> Path:
    """A graph with v1 control flow, a table from a file, and a sparse column."""
    v1 = tf.compat.v1
    words = path.with_suffix(".txt")
    words.write_text("rome\noslo\n")
    v1.disable_control_flow_v2()
    try:
        with v1.Graph().as_default(), v1.Session() as session:
            w = v1.placeholder(tf.string, [None, 1], name="w")
            table = tf.lookup.StaticHashTable(
                tf.lookup.TextFileInitializer(
                    str(words),
                    tf.string,
                    tf.lookup.TextFileIndex.WHOLE_LINE,
                    tf.int64,
                    tf.lookup.TextFileIndex.LINE_NUMBER,
                ),
                -1,
            )
            is_there = tf.not_equal(w, "")
            some = tf.gather_nd(w, tf.where(is_there))
            total = tf.reduce_sum(table.lookup(some))
            first = tf.cond(
                tf.reduce_any(is_there),
                lambda: table.lookup(w),
                lambda: _zeros(w),
            )
            y = number(first) + 0.0 * number(total)
            v1.saved_model.simple_save(
                session,
                str(path),
                {"w": w},
                {"y": y},
                legacy_init_op=v1.tables_initializer(),
            )
    finally:
        v1.enable_control_flow_v2()
    words.unlink()
    return path


def _zeros(w: Any) -> Any:
    return tf.zeros_like(w, tf.int64)


def raw_in_a_branch(path: Path) -> Path:
    table = static_table(WORDS)

    def f(w: Any, n: Any) -> Any:
        found = tf.cond(
            tf.reduce_any(tf.equal(n, 1)),
            lambda: tf.strings.length(w),
            lambda: tf.cast(table.lookup(w), tf.int32),
        )
        return {"y": number(found)}

    return save(path, f, [text(), spec("n", "int32")], table)


def raw_in_a_case(path: Path) -> Path:
    table = static_table(WORDS)

    def f(w: Any, n: Any) -> Any:
        branches = [lambda: table.lookup(w), lambda: tf.strings.to_hash_bucket(w, 9)]
        return {"y": number(tf.switch_case(n[0, 0], branches))}

    return save(path, f, [text(), spec("n", "int32")], table)


def raw_after_an_iteration(path: Path) -> Path:
    """The second iteration of a loop uses as text what the first one passes on."""
    table = static_table(WORDS)

    def f(w: Any) -> Any:
        def turn(i: Any, total: Any, now: Any, later: Any) -> Any:
            return i + 1, total + tf.strings.length(now), later, later

        start = (0, tf.zeros_like(w, tf.int32), tf.zeros_like(w), w)
        _, total, *_ = tf.while_loop(lambda i, *_: i < 2, turn, start)
        return {"y": number(table.lookup(w)) + number(total)}

    return save(path, f, [text()], table)


def decides_a_loop(path: Path) -> Path:
    def f(n: Any) -> Any:
        first = n[0, 0]
        turns = tf.while_loop(lambda i: i < first, lambda i: [i + 1], [0])[0]
        return {"y": number(tf.equal(n, 3)) + number(turns)}

    return save(path, f, [spec("n", "int32")])


def asserted(path: Path) -> Path:
    """Words of more than five letters are errors, by a control dependency alone."""
    table = static_table(WORDS)

    def f(w: Any) -> Any:
        short = tf.debugging.assert_less(tf.strings.length(w), 6)
        with tf.control_dependencies([short]):
            return {"y": number(table.lookup(w))}

    return save(path, f, [text()], table)
