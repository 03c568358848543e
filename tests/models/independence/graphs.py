"""Random compositions of operations, some of which mix rows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2

WORDS = ["a", "b", "c d", "a b c", ""]
_STEPS: dict[str, Callable[["Graph"], Any]] = {}
# Steps that reduce parts to something of each row.
_LAST = """
fill_up_by_owners fill_up_by_splits fill_up_sparse look_up_sparse reduce_by_owners
reduce_parts
""".split()
_FAMILIES: dict[str, list[str]] = {}  # names of steps that often come together


def step(function: Callable[["Graph"], Any]) -> Callable[["Graph"], Any]:
    """Make a function one of the operations that graphs are composed of."""
    _STEPS[function.__name__] = function
    _FAMILIES.setdefault(function.__module__, []).append(function.__name__)
    return function


class Parts(NamedTuple):
    """What rows were split into: a vector of parts, and which row has which.

    owners: the row of each part. splits: where each row's begin, and the last ones end.
    """

    values: Any
    owners: Any
    splits: Any
    count: Any  # how many rows there are


class Sparse(NamedTuple):
    """The parts of a sparse tensor."""

    indices: Any
    values: Any
    shape: Any


@dataclass
class Graph:
    """A graph that grows: tensors to choose from, and how they came.

    height: the number of rows that constants have, which may be the batch's.
    """

    random: Random
    floats: list[Any] = field(default_factory=list)
    integers: list[Any] = field(default_factory=list)
    texts: list[Any] = field(default_factory=list)
    parts: list[Parts] = field(default_factory=list)
    sparse: list[Sparse] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    height: int = 4

    def grow(self, steps: int) -> None:
        """Add operations; one that does not go with its inputs is left out."""
        family = self.random.choice([[*_STEPS], *_FAMILIES.values()])
        wanted = len(self.names) + steps
        for _ in range(6 * steps):
            if len(self.names) == wanted:
                break
            self._try(self.random.choice(family if self.likely() else [*_STEPS]))

    def finish(self) -> None:
        """Compute something of parts of rows, so that they are not for nothing."""
        for _ in range(6 if self.parts or self.sparse else 0):
            if self._try(self.random.choice(_LAST)):
                break

    def _try(self, name: str) -> bool:
        """Add an operation if it goes with its inputs."""
        try:
            with tf.name_scope(name):
                self._keep(_STEPS[name](self))
        except (ValueError, TypeError, IndexError, tf.errors.OpError):
            return False
        self.names.append(name)
        return True

    def _keep(self, made: Any) -> None:
        if isinstance(made, Parts):
            self.parts.append(made)
        elif isinstance(made, Sparse):
            self.sparse.append(made)
        elif isinstance(made, list | tuple):
            for one in made:
                self._keep(one)
        elif not isinstance(made, tf.Tensor):
            raise TypeError("a ragged tensor")
        elif made.dtype == tf.string:
            self.texts.append(made)
        elif made.dtype.is_integer:
            self.integers.append(tf.cast(made, tf.int64))
        else:
            self.floats.append(tf.cast(made, tf.float64))

    @property
    def f(self) -> Any:
        """A float tensor; rather a late one."""
        return self._late(self.floats)

    @property
    def i(self) -> Any:
        return self._late(self.integers)

    @property
    def t(self) -> Any:
        return self._late(self.texts)

    @property
    def p(self) -> Any:
        return self._late(self.parts)

    @property
    def s(self) -> Any:
        return self._late(self.sparse)

    def axis(self, tensor: Any) -> int:
        return self.random.randrange(-1, len(tensor.shape))

    def constant(self, *shape: int) -> Any:
        values = [self.random.uniform(-2, 2) for _ in range(int(np.prod(shape)))]
        return tf.constant(np.array(values, np.float64).reshape(shape))

    def likely(self) -> bool:
        return self.random.random() < 0.7

    def _late(self, tensors: Sequence[Any]) -> Any:
        at = max(self.random.randrange(len(tensors)) for _ in range(2))
        return tensors[at]


@step
def add(g: Graph) -> Any:
    return g.f + g.f


@step
def multiply(g: Graph) -> Any:
    return g.f * g.constant(4)


@step
def subtract_const(g: Graph) -> Any:
    return g.f - 0.5


@step
def tanh(g: Graph) -> Any:
    return tf.tanh(g.f)


@step
def sum_axis(g: Graph) -> Any:
    x = g.f
    return tf.reduce_sum(x, g.axis(x), keepdims=g.random.random() < 0.5)


@step
def mean_all(g: Graph) -> Any:
    x = g.f
    return x - tf.reduce_mean(x)


@step
def max_axis(g: Graph) -> Any:
    x = g.f
    return x / (1 + tf.abs(tf.reduce_max(x, g.axis(x), keepdims=True)))


@step
def softmax(g: Graph) -> Any:
    x = g.f
    return tf.nn.softmax(x, g.axis(x))


@step
def transpose(g: Graph) -> Any:
    x = g.f
    order = list(range(len(x.shape)))
    g.random.shuffle(order)
    return tf.transpose(x, order)


@step
def reshape_rows(g: Graph) -> Any:
    x = g.f
    return tf.reshape(x, [tf.shape(x)[0], -1])


@step
def reshape_pairs(g: Graph) -> Any:
    return tf.reshape(g.f, [-1, g.random.choice([1, 2, 3, 4])])


@step
def reshape_deep(g: Graph) -> Any:
    return tf.reshape(g.f, [-1, 2, 2])


@step
def flatten_and_back(g: Graph) -> Any:
    x = g.f
    return tf.reshape(tf.reshape(x, [-1]), tf.shape(x))


@step
def concat(g: Graph) -> Any:
    x = g.f
    return tf.concat([x, g.f], g.axis(x))


@step
def stack(g: Graph) -> Any:
    x = g.f
    return tf.stack([x, tf.tanh(x)], g.axis(x))


@step
def unstack(g: Graph) -> Any:
    return tf.unstack(g.f, axis=1)[0]


@step
def split(g: Graph) -> Any:
    return tf.split(g.f, 2, axis=-1)


@step
def gather_columns(g: Graph) -> Any:
    x = g.f
    return tf.gather(x, [1, 0], axis=g.axis(x))


@step
def gather_table(g: Graph) -> Any:
    return tf.gather(g.constant(7, 4), g.i % 7)


@step
def gather_own(g: Graph) -> Any:
    return tf.gather(g.f, g.i % 2, axis=1, batch_dims=1)


@step
def gather_others(g: Graph) -> Any:
    x = g.f
    return tf.gather(x, g.i % tf.shape(x, tf.int64)[0])


@step
def gather_nd(g: Graph) -> Any:
    return tf.gather_nd(g.constant(5, 4), tf.expand_dims(g.i % 5, -1))


@step
def dense(g: Graph) -> Any:
    return tf.matmul(g.f, g.constant(4, 4))


@step
def gram(g: Graph) -> Any:
    x = g.f
    return tf.matmul(x, x, transpose_b=True)


@step
def diagonal_of_gram(g: Graph) -> Any:
    """The product of each row with itself, or with another one."""
    x = g.f
    y = g.random.choice([x, g.f, x[::-1], g.constant(g.height, 4)])
    ways = [
        lambda: tf.matmul(x, y, transpose_b=True),
        lambda: x @ tf.transpose(y),
        lambda: tf.matmul(tf.transpose(x), tf.transpose(y), transpose_a=True),
        lambda: tf.matmul(x, y, transpose_a=True),
    ]
    pairs = g.random.choice(ways)()
    if g.random.random() < 0.5:
        changes = [tf.tanh, lambda p: p / 2.0, lambda p: p + p, tf.nn.softmax]
        pairs = g.random.choice([*changes, lambda p: p - tf.reduce_max(p)])(pairs)
    part = g.random.choice([tf.linalg.diag_part, tf.linalg.tensor_diag_part])
    return part(pairs) if g.likely() else tf.linalg.diag_part(pairs, k=1)


@step
def gram_of_rows(g: Graph) -> Any:
    x = tf.expand_dims(g.f, -1)
    return tf.matmul(x, x, transpose_b=True)


@step
def einsum(g: Graph) -> Any:
    x = g.f
    equation = g.random.choice(["bi,bi->b", "bi,bj->bij", "bi,ci->bc", "bi,bj->ij"])
    return tf.einsum(equation, x, g.f)


@step
def einsum_weights(g: Graph) -> Any:
    return tf.einsum("bi,ij->bj", g.f, g.constant(4, 4))


@step
def cumsum(g: Graph) -> Any:
    x = g.f
    return tf.cumsum(x, g.axis(x))


@step
def reverse(g: Graph) -> Any:
    x = g.f
    return tf.reverse(x, [g.axis(x)])


@step
def roll(g: Graph) -> Any:
    x = g.f
    return tf.roll(x, 1, g.axis(x))


@step
def top_k(g: Graph) -> Any:
    return list(tf.math.top_k(g.f, 2))


@step
def sort(g: Graph) -> Any:
    x = g.f
    return tf.sort(x, g.axis(x))


@step
def argmax(g: Graph) -> Any:
    x = g.f
    return tf.argmax(x, g.axis(x))


@step
def one_hot(g: Graph) -> Any:
    return tf.one_hot(g.i % 4, 4, axis=g.random.choice([-1, 0, 1]))


@step
def where(g: Graph) -> Any:
    x = g.f
    return tf.where(x > 0, x, g.f)


@step
def where_places(g: Graph) -> Any:
    return tf.gather_nd(g.f, tf.where(g.f > 0))


@step
def select_rows(g: Graph) -> Any:
    x = g.f
    return tf.raw_ops.Select(condition=g.i > 2, x=x, y=-x)


@step
def share_of_batch(g: Graph) -> Any:
    x = g.f
    return x / tf.cast(tf.shape(x)[0], tf.float64)


@step
def of_sizes(g: Graph) -> Any:
    """A number that is computed of sizes, used as a value."""
    x = g.f
    sizes = _computed(g, tf.shape(x))
    for _ in range(g.random.randrange(4)):
        sizes = _computed(g, sizes)
    return x / (1.0 + tf.abs(tf.cast(tf.reduce_sum(sizes), tf.float64)))


def _computed(g: Graph, sizes: Any) -> Any:
    """Compute with sizes in one of many ways; leave them as they are where it fails."""
    count = int(np.prod(sizes.shape.as_list() or [1]))
    first = [0] * len(sizes.shape)
    ways: list[Callable[[], Any]] = [
        lambda: tf.reshape(sizes, [-1, g.random.choice([1, 2])]),
        lambda: tf.reshape(sizes, [1, -1]),
        lambda: tf.reshape(sizes, [-1]),
        lambda: tf.gather(sizes, [g.random.randrange(2)], axis=g.axis(sizes)),
        lambda: tf.stack([sizes, sizes * 0 + 3], g.axis(sizes)),
        lambda: tf.concat([sizes, sizes * 2], g.axis(sizes)),
        lambda: tf.unstack(sizes, axis=g.axis(sizes))[-1],
        lambda: sizes + tf.reshape(tf.range(count), [-1, 1]),
        lambda: sizes * tf.constant([[0], [1]]),
        lambda: tf.reduce_prod(sizes, g.axis(sizes)),
        lambda: tf.reduce_max(sizes, g.axis(sizes), keepdims=True),
        lambda: sizes[g.random.choice([tf.newaxis, slice(1), slice(1, 3), 0, -1])],
        lambda: tf.slice(sizes, first, [1] * len(first)),
        lambda: tf.squeeze(sizes),
        lambda: tf.expand_dims(sizes, g.axis(sizes)),
        lambda: tf.transpose(sizes),
        lambda: tf.tile(sizes, [2] * len(first)),
        lambda: sizes // sizes,
        lambda: tf.maximum(sizes, 4),
    ]
    try:
        return g.random.choice(ways)()
    except (ValueError, TypeError, IndexError, tf.errors.OpError):
        return sizes


@step
def place_in_batch(g: Graph) -> Any:
    x = g.f
    places = tf.cast(tf.range(tf.shape(x)[0]), tf.float64)
    return x + tf.reshape(places, [-1, 1])


@step
def ones_like_rows(g: Graph) -> Any:
    x = g.f
    return tf.fill([tf.shape(x)[0], 4], 2.0)


@step
def tile_constant(g: Graph) -> Any:
    return tf.tile(g.constant(1, 4), [tf.shape(g.f)[0], 1])


@step
def tile_rows(g: Graph) -> Any:
    x = g.f
    return tf.tile(x, g.random.choice([[1, 2], [2, 1]]))


@step
def broadcast(g: Graph) -> Any:
    x = g.f
    return tf.broadcast_to(g.constant(4), tf.shape(x))


@step
def expand(g: Graph) -> Any:
    x = g.f
    return tf.expand_dims(x, g.axis(x))


@step
def squeeze_all(g: Graph) -> Any:
    return tf.squeeze(g.f)


@step
def squeeze(g: Graph) -> Any:
    x = g.f
    return tf.squeeze(x, [g.axis(x)])


@step
def columns(g: Graph) -> Any:
    return g.f[:, 1:3]


@step
def without_first(g: Graph) -> Any:
    return g.f[1:]


@step
def backwards(g: Graph) -> Any:
    return g.f[::-1]


@step
def first_row(g: Graph) -> Any:
    x = g.f
    return x - x[0]


@step
def ellipsis(g: Graph) -> Any:
    return g.f[..., :2]


@step
def new_axis(g: Graph) -> Any:
    return g.f[:, tf.newaxis]


@step
def pad(g: Graph) -> Any:
    return tf.pad(g.f, g.random.choice([[[0, 0], [1, 0]], [[1, 0], [0, 0]]]))


@step
def mask_rows(g: Graph) -> Any:
    return tf.boolean_mask(g.f, g.i > 2)


@step
def segment_sum(g: Graph) -> Any:
    x = g.f
    return tf.math.unsorted_segment_sum(x, g.i % 3, 3)


@step
def bincount(g: Graph) -> Any:
    axis = g.random.choice([0, -1])
    return tf.math.bincount(
        tf.cast(g.i % 5, tf.int32), minlength=5, maxlength=5, axis=axis
    )


@step
def length(g: Graph) -> Any:
    return tf.strings.length(g.t)


@step
def hash_text(g: Graph) -> Any:
    return tf.strings.to_hash_bucket_fast(g.t, 50)


@step
def join_texts(g: Graph) -> Any:
    return tf.strings.join([g.t, g.t], "-")


@step
def split_longest(g: Graph) -> Any:
    return tf.strings.split(g.t).to_tensor()


@step
def split_fixed(g: Graph) -> Any:
    return tf.strings.split(g.t).to_tensor(shape=[None, 3])


@step
def loop_over_size(g: Graph) -> Any:
    x = g.f
    turns = tf.shape(x)[g.axis(x)]
    return tf.while_loop(
        lambda i, y: i < turns, lambda i, y: (i + 1, tf.tanh(y + x)), [0, x]
    )[1]


@step
def loop_over_value(g: Graph) -> Any:
    x = g.f
    return tf.while_loop(
        lambda y: tf.reduce_max(tf.abs(y)) > 1.0, lambda y: (y * 0.5,), [x]
    )[0]


@step
def branch(g: Graph) -> Any:
    x = g.f
    return tf.cond(tf.reduce_sum(x) > 0, lambda: x + 1, lambda: x * 2)


@step
def map_rows(g: Graph) -> Any:
    return tf.map_fn(lambda row: row / (1 + tf.reduce_sum(tf.abs(row))), g.f)


@step
def scan_time(g: Graph) -> Any:
    x = tf.transpose(g.f)
    return tf.transpose(tf.scan(lambda a, b: 0.5 * a + b, x))


@step
def normalize(g: Graph) -> Any:
    return tf.math.l2_normalize(g.f, -1)


def run(
    graph: tf.Graph, feeds: Sequence[Any], fetch: Any, values: Sequence[Any]
) -> Any | None:
    """Run a graph as it is; None if it refuses these values.

    TensorFlow's optimizer takes three transpositions of a graph for two, where the
    middle one changes nothing.
    """
    config = config_pb2.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    with tf.compat.v1.Session(graph=graph, config=config) as session:
        try:
            return session.run(fetch, dict(zip(feeds, values, strict=True)))
        except tf.errors.OpError:
            return None
