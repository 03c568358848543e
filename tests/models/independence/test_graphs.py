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
from tests.models.independence import (  # noqa: F401  # they make steps
    steps_of_items,
    steps_of_places,
    steps_of_sizes,
    steps_of_sparse,
    steps_of_texts,
    steps_of_transforms,
)
from tests.models.independence.graphs import WORDS, Graph, run

EXAMPLES = int(os.environ.get("GRAPHS", "200"))
_DRAWS = 3  # of values for each fetched tensor


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


class Runnable(NamedTuple):
    """What is run of a graph.

    fixed: how many rows each run has, or 0 for any number. shared: the values of a
    request's own inputs.
    """

    graph: tf.Graph
    feeds: list[Any]
    fetch: Any
    fixed: int
    shared: list[Any]

    def run(self, values: list[Any]) -> Any:
        return run(self.graph, self.feeds, self.fetch, [*values, *self.shared])

    @property
    def calls(self) -> bool:
        """True if a function is called, which fails for what it does not need, too."""
        kinds = {one.type for one in self.graph.get_operations()}
        return not kinds.isdisjoint({"PartitionedCall", "StatefulPartitionedCall"})

    def alone(self, values: list[Any], i: int) -> Any:
        """Run a row without neighbours, but copies of it where a run has more."""
        copies = self.fixed or 1
        return self.run([np.repeat(value[i : i + 1], copies, 0) for value in values])


def rows(random: Random, count: int) -> list[Any]:
    x = [
        [random.choice([0.0, 1.0, -3.0, random.gauss(0, 5)]) for _ in range(4)]
        for _ in range(count)
    ]
    n = [[random.randrange(9) for _ in range(3)] for _ in range(count)]
    i = [random.randrange(9) for _ in range(count)]
    w, v = ([random.choice(WORDS) for _ in range(count)] for _ in range(2))
    width = random.choice([1, 2, 4])
    z = np.array([random.gauss(0, 2) for _ in range(count * width)])
    texts = np.array(w, object), np.array(v, object)
    ragged = z.reshape(count, width)
    return [np.array(x, np.float64), np.array(n), np.array(i), *texts, ragged]


class Made(NamedTuple):
    """A random graph. shared: those of its inputs that are of the request."""

    graph: tf.Graph
    grown: Graph
    feeds: list[Any]
    shared: list[Any]
    fixed: int

    @property
    def fetches(self) -> list[Any]:
        g = self.grown
        found = [*g.floats[-3:], *g.integers[-3:], *g.texts[-2:]]
        return [one for one in found if one.op.type != "Placeholder"]


def make(random: Random) -> Made:
    """Make a graph, for any number of rows or, now and then, for a fixed one."""
    fixed = random.choice([0, 0, 4, 8])
    graph = tf.Graph()
    count = fixed or None
    with graph.as_default():
        placeholder = tf.compat.v1.placeholder
        feeds = [
            placeholder(tf.float64, [count, 4]),
            placeholder(tf.int64, [count, 3]),
            placeholder(tf.int64, [count]),
            placeholder(tf.string, [count]),
            placeholder(tf.string, [count]),
            placeholder(tf.float64, [count, None]),
        ]
        shared = [placeholder(tf.float64, []), placeholder(tf.float64, [None, 4])]
        floats = [*shared, feeds[5], feeds[0]]
        height = fixed or random.choice([4, 8])
        g = Graph(random, floats, feeds[1:3], feeds[3:5], height=height)
        g.grow(random.randrange(2, 9))
        g.finish()
    return Made(graph, g, feeds, shared, fixed)


def disagreement(seed: int) -> str:
    """Build a graph; name what is wrong if it is proved and its rows disagree.

    Some of its inputs are of the request: rows of one run agree in them.
    """
    random = Random(seed)
    made = make(random)
    for fetch in made.fetches:
        verdict = proved(made.graph, made.feeds, fetch, made.shared)
        if not verdict.joins:
            continue
        is_same = fetch.name in verdict.same
        given = [*made.feeds, *made.shared]
        for _ in range(_DRAWS):
            of_request = of_requests(random)
            runnable = Runnable(made.graph, given, fetch, made.fixed, of_request)
            if wrong := _differing(runnable, random, is_same):
                return f"{made.grown.names}: {fetch.op.type} {fetch.name}: {wrong}"
    return ""


def of_requests(random: Random) -> list[Any]:
    """Return a number, and a matrix that may be as high as a batch."""
    return [np.array(random.gauss(0, 2)), rows(random, random.choice([1, 4]))[0]]


def _differing(runnable: Runnable, random: Random, is_same: bool) -> str:
    count = runnable.fixed or random.choice([2, 3, 4, 4, 8])
    values = rows(random, count)
    together = runnable.run(values)
    if together is None:
        return ""
    if is_same:
        alone = runnable.alone(values, 0)
        is_equal = alone is None or _are_close(alone, together)
        return "" if is_equal else "not the same"
    if len(together) != count:
        return f"{len(together)} rows"
    return next(
        filter(None, (_wrong(runnable, values, together, i) for i in range(count))), ""
    )


def _wrong(runnable: Runnable, values: list[Any], together: Any, i: int) -> str:
    """Say what of a row's answer its neighbours have changed."""
    alone = runnable.alone(values, i)
    if alone is None:
        return "" if runnable.calls else f"row {i} is refused alone"
    if alone.shape[1:] != together.shape[1:] or len(alone) != (runnable.fixed or 1):
        return f"shapes {alone.shape} and {together.shape}"
    if not all(_are_close(one, together[i]) for one in alone):
        return f"row {i}: {alone[0]} alone, {together[i]} among others"
    return ""


def _are_close(a: Any, b: Any) -> bool:
    if np.asarray(a).dtype.kind in "OSU":
        return np.array_equal(a, b)
    return np.allclose(a, b, rtol=1e-6, atol=1e-6, equal_nan=True)


@settings(max_examples=EXAMPLES, derandomize=EXAMPLES == 200)
@given(st.integers(0, 2**62))
def test_what_is_proved_holds(seed: int) -> None:
    assert not disagreement(seed)


def test_many_graphs_are_proved() -> None:
    """A proof of nothing would pass the test above."""
    assert sum(_is_proved(seed) for seed in range(60)) >= 35


def _is_proved(seed: int) -> bool:
    made = make(Random(seed))
    return any(
        proved(made.graph, made.feeds, fetch, made.shared).joins
        for fetch in made.fetches
    )
