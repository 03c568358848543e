"""Whatever is proved holds: random graphs, run alone and among random neighbours."""

import os
from collections.abc import Sequence
from random import Random
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from gomlx.models.dataflow.flow import Flow
from gomlx.models.independence.proof import Verdict, fed_rows, fed_shared, prove
from tests.models.independence.graphs import WORDS, Graph, run

EXAMPLES = int(os.environ.get("GOMLX_GRAPHS", "200"))
_NEIGHBOURS = 4


def proved(
    graph: tf.Graph, feeds: list[Any], fetch: Any, shared: Sequence[Any] = ()
) -> Verdict:
    names = {f.name: fed_rows(f.name, f.shape[1:].as_list()) for f in feeds}
    names |= {f.name: fed_shared(f.shape.as_list()) for f in shared}
    definition = graph.as_graph_def()
    needed = {node.name for node in definition.node}
    with graph.as_default():
        flow = Flow(definition, needed, [*names], [fetch.name])
        return prove(flow.body, flow.function, names, [fetch.name])


def rows(random: Random, count: int) -> list[Any]:
    x = [
        [random.choice([0.0, 1.0, -3.0, random.gauss(0, 5)]) for _ in range(4)]
        for _ in range(count)
    ]
    n = [[random.randrange(9) for _ in range(3)] for _ in range(count)]
    i = [random.randrange(9) for _ in range(count)]
    w = [random.choice(WORDS) for _ in range(count)]
    return [np.array(x, np.float64), np.array(n), np.array(i), np.array(w, object)]


def disagreement(seed: int) -> str:
    """Build a graph; name what is wrong if it is proved and its rows disagree.

    Some of its inputs are of the request: rows of one run agree in them.
    """
    random = Random(seed)
    graph = tf.Graph()
    with graph.as_default():
        placeholder = tf.compat.v1.placeholder
        feeds = [
            placeholder(tf.float64, [None, 4]),
            placeholder(tf.int64, [None, 3]),
            placeholder(tf.int64, [None]),
            placeholder(tf.string, [None]),
        ]
        shared = [placeholder(tf.float64, []), placeholder(tf.float64, [None, 4])]
        floats = [*shared, feeds[0]]
        g = Graph(random, floats, [feeds[1], feeds[2]], [feeds[3]])
        g.grow(random.randrange(2, 9))
        fetches = [g.floats[-1], g.integers[-1]]
    for fetch in fetches:
        verdict = proved(graph, feeds, fetch, shared)
        if verdict.joins:
            is_same = fetch.name in verdict.same
            asked = Asked(graph, [*feeds, *shared], fetch, of_requests(random))
            if wrong := _differing(asked, random, is_same):
                return f"{g.names}: {fetch.op.type} {fetch.name}: {wrong}"
    return ""


class Asked(NamedTuple):
    """What is run of a graph. shared: the values of a request's own inputs."""

    graph: tf.Graph
    feeds: list[Any]
    fetch: Any
    shared: list[Any]

    def run(self, values: list[Any]) -> Any:
        return run(self.graph, self.feeds, self.fetch, [*values, *self.shared])


def of_requests(random: Random) -> list[Any]:
    """Return a number, and a matrix that may be as high as a batch."""
    height = random.choice([1, _NEIGHBOURS])
    return [np.array(random.gauss(0, 2)), rows(random, height)[0]]


def _differing(asked: Asked, random: Random, is_same: bool) -> str:
    values = rows(random, _NEIGHBOURS)
    together = asked.run(values)
    if together is None:
        return ""
    if is_same:
        alone = asked.run([value[:1] for value in values])
        is_equal = alone is None or np.array_equal(alone, together, equal_nan=True)
        return "" if is_equal else "not the same"
    if len(together) != _NEIGHBOURS:
        return f"{len(together)} rows"
    for i in range(_NEIGHBOURS):
        alone = asked.run([value[i : i + 1] for value in values])
        if alone is None:
            continue
        if alone.shape[1:] != together.shape[1:] or len(alone) != 1:
            return f"shapes {alone.shape} and {together.shape}"
        if not np.allclose(alone[0], together[i], rtol=1e-6, atol=1e-6, equal_nan=True):
            return f"row {i}: {alone[0]} alone, {together[i]} among others"
    return ""


@settings(max_examples=EXAMPLES, derandomize=EXAMPLES == 200)
@given(st.integers(0, 2**62))
def test_what_is_proved_holds(seed: int) -> None:
    assert not disagreement(seed)


def test_many_graphs_are_proved() -> None:
    """A proof of nothing would pass the test above."""
    assert sum(_is_proved(seed) for seed in range(60)) >= 15


def _is_proved(seed: int) -> bool:
    random = Random(seed)
    graph = tf.Graph()
    with graph.as_default():
        x = tf.compat.v1.placeholder(tf.float64, [None, 4])
        i = tf.compat.v1.placeholder(tf.int64, [None])
        w = tf.compat.v1.placeholder(tf.string, [None])
        g = Graph(random, [x], [i], [w])
        g.grow(4)
    return bool(g.names) and proved(graph, [x, i, w], g.floats[-1]).joins
