"""A version loaded and able to run: rows → answers.

The directory that staging wrote:

    servable.json     signature, feeds, fetches and the state below (Description)
    dictionary        the kind of every input (contract.dictionary)
    saved_model/      graph and assets
    transformer/      the file that holds the transformer, if there is one
    libraries         modules to import before the graph
    weights/N         one variable each: raw little-endian elements, mapped into
                      every worker, or (state that cannot be mapped) a serialized
                      TensorProto
"""

import json
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import repeat
from math import inf
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple, cast

import tensorflow as tf

from gomlx.contract import canonical
from gomlx.contract.answer import joined
from gomlx.contract.dictionary import Dictionary
from gomlx.contract.signature import Signature
from gomlx.contract.tensor import Row
from gomlx.errors import RunFailed
from gomlx.models import libraries
from gomlx.models.batching.cost import (
    Timing,
    batch_sizes,
    measure_sizes,
    new_sizes_cost,
)
from gomlx.models.serving import session as tf_session
from gomlx.models.serving import weights
from gomlx.models.serving.answers import Answers
from gomlx.models.serving.binding import Binding
from gomlx.models.serving.effort import Effort
from gomlx.models.serving.feeds import Feeds
from gomlx.models.serving.transformer import Transformer
from gomlx.models.version import ModelVersion

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Description:
    """What a worker needs to know of a staged version.

    binding: its tensors in the graph. unsteady: types of operations that forbid
    caching. rows_apart: why rows of different requests may not run together, or
    empty. example: a row to warm with. transformer: "package.module:function" over
    every answer, or empty. rows_together: the rows of a request run together, and with
    no others: a whole request is the question.
    """

    signature: Signature
    binding: Binding
    state: weights.SavedState
    unsteady: tuple[str, ...]
    rows_apart: str
    example: dict[str, Any]
    transformer: str
    rows_together: bool
    effort: Effort

    @property
    def joins_rows(self) -> bool:
        """Whether rows of different requests may run together."""
        return not self.rows_apart

    @property
    def may_overlap(self) -> bool:
        """Whether runs at once leave the interpreter, and each other, alone."""
        return not (self.transformer or self.unsteady)

    @property
    def most_rows(self) -> int:
        """How many rows may share a run at most."""
        if self.rows_apart and not self.rows_together:
            return 1
        return self.binding.rows or sys.maxsize

    def write(self, directory: Path) -> None:
        (directory / "servable.json").write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, directory: Path) -> "Description":
        document = json.loads((directory / "servable.json").read_text())
        return cls(
            Signature.from_json(document["signature"]),
            Binding.from_json(document["binding"]),
            weights.SavedState.from_json(document["state"]),
            tuple(document["unsteady"]),
            document["rows_apart"],
            document["example"],
            document["transformer"],
            document["rows_together"],
            Effort.from_json(document["effort"]),
        )


class Graph(NamedTuple):
    """What runs a graph, with an array for each tensor that is fed, and what ends it.

    The call goes before close: it keeps a session alive.
    """

    call: Callable[..., list[Any]]
    close: Callable[[], None]


LoadGraph = Callable[[ModelVersion, Description, int], Graph]


def load_here(version: ModelVersion, description: Description, threads: int) -> Graph:
    """Import a graph and its state into a session of this process."""
    directory = version.directory
    libraries.load(directory)
    session = tf_session.open_session(tf.Graph(), threads)
    loader = tf_session.import_graph(session, directory / "saved_model")
    weights.load(session, loader, directory / "weights", description.state)
    binding = description.binding
    call = tf_session.make_callable(session, binding.feeds, binding.fetches)
    return Graph(call, session.close)


class Servable:
    """A loaded version. Several threads may run it, but with a transformer only one.

    threads: TensorFlow's in a run. load: makes what runs its graph.
    """

    def __init__(
        self, version: ModelVersion, threads: int = 1, load: LoadGraph = load_here
    ) -> None:
        self.version = version
        self.description = Description.read(version.directory)
        kinds = canonical.parse((version.directory / "dictionary").read_bytes())
        self.dictionary = Dictionary(version.digest, self.signature, kinds)
        self._transform = self._transformer()
        binding = self.description.binding
        together = self.description.rows_together
        self._feeds = Feeds(self.signature.inputs, binding, together)
        self._answers = Answers(self.signature.outputs, binding)
        self._most = self.description.most_rows  # of one run
        graph = load(version, self.description, threads)
        self._call = graph.call
        self._close = graph.close
        self._sizes: tuple[int, ...] = ()  # of runs, if others cost more

    @property
    def signature(self) -> Signature:
        """Its inputs and outputs."""
        return self.description.signature

    def run(self, rows: Sequence[Row]) -> list[bytes]:
        """Return the answer of every row; rows that can share a run do.

        Raises RunFailed.
        """
        try:
            is_grouped = self._feeds.is_grouped or self._most < len(rows)
            answers = self._run_groups(rows) if is_grouped else self._run(rows)
        except tf_session.TensorFlowError as error:
            name = self.version.name
            raise RunFailed(f"model {name!r} failed: {error.message[:500]}") from None
        return self._transform(rows, answers) if self._transform else answers

    def run_requests(self, requests: Sequence[Row]) -> list[bytes]:
        """Return the answer of every request: the list of its rows' answers.

        Its row is the tuple of its rows, which run together and with no others. Raises
        RunFailed.
        """
        return [joined(self.run(cast(Sequence[Row], rows))) for rows in requests]

    def outputs(self, rows: Sequence[Row]) -> list[Any]:
        """Run rows of one group: one array per output, of shape [rows, …]."""
        return self._answers.by_row(self._call(*self._feeds(rows)), len(rows))

    def warm(self, max_rows: int = 1) -> list[Timing]:
        """Run more and more rows; return the timings of `cost.batch_sizes`.

        The first runs of a graph optimize it. From here on, runs are padded to these
        sizes if a new size costs much. Raises RunFailed: staging has run this row, so
        a worker that cannot is broken.
        """
        row = self._example()

        def run(size: int) -> None:
            self.run(row * size)

        for _ in range(2):
            run(min(8, max_rows))
        if self.description.effort.pads:
            return self._warm_all(run, max_rows)
        timings = measure_sizes(run, max_rows)
        description = self.description
        may_pad = description.joins_rows and not description.rows_together
        may_pad = may_pad and not description.binding.rows
        if may_pad and new_sizes_cost(run, max_rows, timings):
            return self._warm_all(run, max_rows)
        return timings

    def row_seconds(self) -> float:
        """Return the CPU time that the model takes for its example."""
        row = self._example()
        (timing,) = measure_sizes(lambda _: self.outputs(row), 1)
        return timing.cpu

    def close(self) -> None:
        """Free the session. The callable goes first: it keeps the session alive."""
        del self._call
        self._close()

    def _example(self) -> list[Row]:
        """Return the one row to warm with."""
        rows = self.signature.check(self.description.example).rows
        return self.dictionary.canonical(rows)

    def _transformer(self) -> Transformer | None:
        reference = self.description.transformer
        if not reference:
            return None
        return Transformer(reference, self.version, self.signature.fields)

    def _warm_all(self, run: Callable[[int], object], max_rows: int) -> list[Timing]:
        """Warm all sizes, however long that takes, and pad to them from now on."""
        started = perf_counter()
        timings = measure_sizes(run, max_rows, budget_seconds=inf)
        self._sizes = tuple(batch_sizes(max_rows))
        log.info(
            "model %s: its %d sizes of runs were warmed in %.1f s; others are padded",
            self.version.name,
            len(timings),
            perf_counter() - started,
        )
        return timings

    def _run(self, rows: Sequence[Row]) -> list[bytes]:
        if self._sizes and len(rows) not in self._sizes:
            return self._run_padded(rows)
        return self._answers(self._call(*self._feeds(rows)), len(rows))

    def _run_padded(self, rows: Sequence[Row]) -> list[bytes]:
        """Run rows with copies of the last one, whose answers are dropped."""
        size = next((s for s in self._sizes if s > len(rows)), len(rows))
        padded = [*rows, *repeat(rows[-1], size - len(rows))]
        answers = self._answers(self._call(*self._feeds(padded)), size)
        return answers[: len(rows)]

    def _run_groups(self, rows: Sequence[Row]) -> list[bytes]:
        answers: list[bytes] = [b""] * len(rows)
        for group in self._feeds.groups(rows):
            for first in range(0, len(group), self._most):
                places = group[first : first + self._most]
                run = self._run([rows[i] for i in places])
                for i, answer in zip(places, run, strict=True):
                    answers[i] = answer
        return answers
