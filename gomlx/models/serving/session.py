"""TensorFlow sessions whose calls are cheap.

The callable of a v1 session, run in the thread that calls it, costs a tenth of a
signature call (docs/internals/measurements.md). A test pins that, so that a
TensorFlow upgrade cannot lose it silently.
"""

import logging
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import config_pb2
from tensorflow.python.framework import tensor_util
from tensorflow.python.saved_model import loader_impl

from gomlx.errors import StageFailed
from gomlx.models.graph import extract_init_constants

logging.getLogger("tensorflow").setLevel(logging.ERROR)

TAGS = ["serve"]  # of each staged graph, whatever tags it had
TensorFlowError = tf.errors.OpError


def open_session(graph: Any, threads: int = 1) -> Any:
    """Return a session that does not copy mapped constants.

    threads: those that share the work of one operation, where
    TF_OVERRIDE_GLOBAL_THREADPOOL is set. Otherwise all sessions of a process use the
    threads of the first one.
    """
    config = config_pb2.ConfigProto(
        intra_op_parallelism_threads=threads, inter_op_parallelism_threads=1
    )
    # At its default level the constant folder copies mapped weights to the heap.
    config.graph_options.optimizer_options.opt_level = config_pb2.OptimizerOptions.L0
    return tf.compat.v1.Session(graph=graph, config=config)


def make_callable(
    session: Any, feeds: Sequence[str], fetches: Sequence[str]
) -> Callable[..., list[Any]]:
    """Return a function from numpy arrays, one per feed, to numpy arrays."""
    options = config_pb2.CallableOptions()
    options.feed.extend(feeds)
    options.fetch.extend(_fetchable(session.graph, name, feeds) for name in fetches)
    options.run_options.inter_op_thread_pool = -1  # run in the caller's thread
    return session._make_callable_from_options(options)  # type: ignore[no-any-return]


def _fetchable(graph: Any, name: str, feeds: Sequence[str]) -> str:
    """Return a tensor equal to a fetched one: a tensor cannot be fed and fetched."""
    if name not in feeds:
        return name
    with graph.as_default():
        return str(tf.identity(graph.get_tensor_by_name(name)).name)


def parse(saved_model: Path, tags: Collection[str] = TAGS) -> Any:
    """Return the MetaGraphDef with exactly these tags. Raises StageFailed."""
    try:
        parsed = loader_impl.parse_saved_model(str(saved_model))
    except OSError as error:
        raise StageFailed(f"saved_model.pb cannot be read: {error}") from None
    sets = [sorted(g.meta_info_def.tags) for g in parsed.meta_graphs]
    if sorted(tags) not in sets:
        there = " and ".join(f"[{', '.join(one)}]" for one in sets) or "none"
        raise StageFailed(
            f"no graph is tagged [{', '.join(sorted(tags))}]; there are: {there}. "
            "Choose one by `tags:`"
        )
    return parsed.meta_graphs[sets.index(sorted(tags))]


def load_objects(saved_model: Path) -> Any:
    """Load a SavedModel as TensorFlow 2 does. Raises StageFailed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return tf.saved_model.load(str(saved_model), TAGS)
        except Exception as error:
            raise StageFailed(f"cannot be loaded: {first_line(error)}") from error


@contextmanager
def imported(saved_model: Path) -> Iterator["GraphLoader"]:
    """Yield the loader of a session in which nothing has run. Raises StageFailed."""
    with closing(open_session(tf.Graph())) as session:
        with translated():
            loader = import_graph(session, saved_model)
        yield loader


@contextmanager
def loaded(saved_model: Path) -> Iterator[Any]:
    """Yield a session that TensorFlow itself fills. Raises StageFailed."""
    with imported(saved_model) as loader:
        loader.fill()
        yield loader.session


@contextmanager
def translated() -> Iterator[None]:
    """Raise StageFailed for whatever is raised while a model is loaded."""
    try:
        yield
    except StageFailed:
        raise
    except Exception as error:
        raise StageFailed(f"cannot be loaded: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    """Return the first line that is not blank: TensorFlow's messages are very long."""
    lines = (line.strip() for line in str(error).splitlines())
    return next((line[:500] for line in lines if line), repr(error))


def import_graph(session: Any, saved_model: Path) -> "GraphLoader":
    """Import the serving graph into the session's graph, without its state."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loader = loader_impl.SavedModelLoader(str(saved_model))
        constants = extract_init_constants(loader.get_meta_graph_def_from_tags(TAGS))
        saver, _ = loader.load_graph(session.graph, TAGS)
    return GraphLoader(session, loader, saver, constants)


class GraphLoader:
    """Restores and initializes the state of an imported graph.

    constants: tensor name → TensorProto, of `extract_init_constants`.
    """

    def __init__(
        self, session: Any, loader: Any, saver: Any, constants: dict[str, Any]
    ) -> None:
        self.session = session
        self._loader = loader
        self._saver = saver
        self._constants = constants

    def fill(self) -> None:
        """Restore and initialize all. Raises StageFailed."""
        with translated():
            self.restore()
            self.run_init_ops()

    def restore(self) -> None:
        """Read every variable from the checkpoint, into the heap."""
        self._loader.restore_variables(self.session, self._saver)

    def run_init_ops(self) -> None:
        """Fill the tables that are made from constants and asset files."""
        meta_graph = self._loader.get_meta_graph_def_from_tags(TAGS)
        feeds = {n: tensor_util.MakeNdarray(v) for n, v in self._constants.items()}
        with self.session.graph.as_default():
            assets = loader_impl.get_asset_tensors(self._loader.export_dir, meta_graph)
            init = loader_impl.get_init_op(meta_graph)
        if init is not None:
            self.session.run(init, feeds | assets)
