"""Calls of a model are cheap, and run in the thread that calls."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from gomlx.models.serving import session
from gomlx.models.serving.servable import Servable
from gomlx.models.version import ModelVersion
from tests.support import saved_models

Stage = Callable[..., ModelVersion]


def cpu_seconds(call: Callable[[], Any], times: int = 300) -> float:
    """Return the least CPU time of a call: other processes only add to it."""
    seconds = []
    for _ in range(times):
        started = time.process_time()
        call()
        seconds.append(time.process_time() - started)
    return min(seconds)


def test_a_call_costs_a_fifth_of_an_ordinary_one(tmp_path: Path, staged: Stage) -> None:
    source = saved_models.lookup(tmp_path / "m", ["a", "b", "c"])
    ordinary = tf.saved_model.load(str(source)).signatures["serving_default"]
    binding = Servable(staged(source)).description.binding
    word = np.array([["b"]], object)

    def theirs() -> Any:
        return ordinary(word=tf.constant([["b"]]))["y"].numpy()

    with session.loaded(source) as loaded:
        call = session.make_callable(loaded, binding.feeds, binding.fetches)

        def ours() -> Any:
            return call(word)

        assert ours()[0] == theirs()
        cpu_seconds(ours)  # to warm both
        cpu_seconds(theirs)
        turns = [(cpu_seconds(ours), cpu_seconds(theirs)) for _ in range(5)]
    least = [min(seconds) for seconds in zip(*turns, strict=True)]
    assert least[1] / least[0] >= 5


def test_a_model_runs_in_the_calling_thread(tmp_path: Path) -> None:
    """A Python operation in the graph records the thread that runs it."""
    threads: list[int] = []

    def spy(x: Any) -> Any:
        threads.append(threading.get_ident())
        return x

    graph = tf.Graph()
    with graph.as_default():
        x = tf.compat.v1.placeholder(tf.float32, [None], name="x")
        y = tf.numpy_function(spy, [x], tf.float32, name="y")
    call = session.make_callable(session.open_session(graph), ["x:0"], [y.name])
    for _ in range(3):
        call(np.ones(1, np.float32))
    other = threading.Thread(target=call, args=(np.ones(1, np.float32),))
    other.start()
    other.join()
    assert threads[:3] == [threading.get_ident()] * 3
    assert threads[3] == other.ident
