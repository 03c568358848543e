"""Each rule: a graph whose rows it proves independent, and one that it refuses."""

from collections.abc import Callable
from typing import Any

import pytest
import tensorflow as tf

from gomlx.models.independence import partitions
from gomlx.models.independence.rules import RULES
from tests.models.independence.pairs import PAIRS as PAIRS_OF_ROWS
from tests.models.independence.pairs import Build
from tests.models.independence.pairs_of_parts import PARTS
from tests.models.independence.test_graphs import proved

PAIRS = {**PAIRS_OF_ROWS, **PARTS}


def graph_of(build: Build) -> tuple[tf.Graph, list[Any], Any]:
    """Return a graph, what it is fed and what is fetched."""
    graph = tf.Graph()
    with graph.as_default():
        placeholder = tf.compat.v1.placeholder
        x = placeholder(tf.float64, [None, 4])
        i = placeholder(tf.int64, [None])
        w = placeholder(tf.string, [None])
        fetch = tf.identity(build(x, i, w))
    return graph, [x, i, w], fetch


def verdict_of(build: Build) -> Any:
    return proved(*graph_of(build))


def operations(build: Build) -> set[str]:
    """Return the types of a graph's operations, those of functions included."""
    definition = graph_of(build)[0].as_graph_def()
    bodies = [function.node_def for function in definition.library.function]
    return {node.op for nodes in (definition.node, *bodies) for node in nodes}


@pytest.mark.parametrize("rule", PAIRS)
def test_what_is_independent_is_proved(rule: str) -> None:
    verdict = verdict_of(PAIRS[rule].good)
    assert verdict.joins, verdict.reason


@pytest.mark.parametrize("rule", PAIRS)
def test_what_depends_on_neighbours_is_refused(rule: str) -> None:
    verdict = verdict_of(PAIRS[rule].bad)
    assert not verdict.joins
    assert verdict.reason


# Whose bad graphs compute with the floats of all rows.
LISTWISE = {
    "L2Loss",
    "ArgMax",
    "BatchMatMul",
    "Cumsum",
    "Einsum",
    "FusedBatchNorm",
    "MatMul",
    "Max",
    "Mean",
    "Softmax",
    "Sort",
    "Sum",
    "TopK",
    "a determinant",
    "a diagonal beside the main one",
    "a loop over the rows",
    "layer normalisation",
    "pairs in a softmax",
    "ranks in the batch",
}


@pytest.mark.parametrize("rule", PAIRS)
def test_what_computes_with_all_rows_is_listwise(rule: str) -> None:
    assert not verdict_of(PAIRS[rule].good).is_listwise
    assert verdict_of(PAIRS[rule].bad).is_listwise is (rule in LISTWISE)


def test_every_rule_has_a_graph_that_it_proves_and_one_that_it_refuses() -> None:
    good, bad = (
        set().union(*(operations(getattr(pair, name)) for pair in PAIRS.values()))
        for name in ("good", "bad")
    )
    for rules in (RULES, partitions.RULES):
        for rule in set(rules.values()):
            names = {op for op, other in rules.items() if other is rule}
            assert names & good and names & bad, sorted(names)


def _of_two(build: Callable[[Any, Any], Any]) -> Any:
    """Return what is proved of rows of 4 numbers, and of as many as are fed."""
    graph = tf.Graph()
    with graph.as_default():
        placeholder = tf.compat.v1.placeholder
        feeds = [placeholder(tf.float64, [None, size]) for size in (4, None)]
        fetch = tf.identity(build(*feeds))
    return proved(graph, feeds, fetch)


def test_a_size_that_is_open_may_be_one() -> None:
    assert _of_two(lambda x, z: tf.reshape(x + z, [-1, 4])).joins
    assert not _of_two(lambda x, z: tf.reshape(x + z, [-1, tf.shape(z)[1]])).joins


def test_a_size_that_is_open_is_no_place_among_sizes() -> None:
    def product(x: Any, place: Any) -> Any:
        return x * tf.cast(tf.gather(tf.shape(x), place), tf.float64)

    assert _of_two(lambda x, z: product(x, 1)).joins
    assert not _of_two(lambda x, z: product(x, tf.shape(z)[1])).joins
