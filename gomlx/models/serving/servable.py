"""A version loaded and able to run: rows → answers.

The directory that staging wrote:

    servable.json     signature, feeds, fetches and the state below (Description)
    dictionary        the kind of every input (contract.dictionary)
    saved_model/      graph and assets
    transformer/      the file that holds the transformer, if there is one
    weights/N         one variable each: raw little-endian elements, mapped into
                      every worker, or (state that cannot be mapped) a serialized
                      TensorProto
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from gomlx.contract import canonical
from gomlx.contract.dictionary import Dictionary
from gomlx.contract.signature import Signature
from gomlx.contract.tensor import Row
from gomlx.errors import RunFailed
from gomlx.models.batching.cost import Timing, measure_sizes
from gomlx.models.serving import session as tf_session
from gomlx.models.serving import weights
from gomlx.models.serving.feeds import Answers, Feeds, by_shape
from gomlx.models.serving.transformer import Transformer
from gomlx.models.version import ModelVersion


@dataclass(frozen=True)
class Description:
    """What a worker needs to know of a staged version.

    feeds and fetches: names of the graph's tensors. unsteady: types of operations that
    forbid caching. rows_apart: why rows of different requests may not run together, or
    empty. example: a row to warm with. transformer: "package.module:function" over
    every answer, or empty. rows_together: the rows of a request run together, and with
    no others: a whole request is the question.
    """

    signature: Signature
    feeds: tuple[str, ...]
    fetches: tuple[str, ...]
    state: weights.SavedState
    unsteady: tuple[str, ...]
    rows_apart: str
    example: dict[str, Any]
    transformer: str
    rows_together: bool

    @property
    def joins_rows(self) -> bool:
        """Whether rows of different requests may run together."""
        return not self.rows_apart

    def write(self, directory: Path) -> None:
        (directory / "servable.json").write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, directory: Path) -> "Description":
        document = json.loads((directory / "servable.json").read_text())
        return cls(
            Signature.from_json(document["signature"]),
            tuple(document["feeds"]),
            tuple(document["fetches"]),
            weights.SavedState.from_json(document["state"]),
            tuple(document["unsteady"]),
            document["rows_apart"],
            document["example"],
            document["transformer"],
            document["rows_together"],
        )


class Servable:
    """A loaded version. One thread at a time may run it, no matter which."""

    def __init__(self, version: ModelVersion) -> None:
        self.version = version
        self.description = Description.read(version.directory)
        self.signature = self.description.signature
        kinds = canonical.parse((version.directory / "dictionary").read_bytes())
        self.dictionary = Dictionary(version.digest, self.signature, kinds)
        self._transform = self._transformer()
        self._feeds = Feeds(self.signature)
        self._answers = Answers(self.signature.outputs)
        self._session = tf_session.open_session(tf.Graph())
        self._call = self._load()

    def run(self, rows: Sequence[Row]) -> list[bytes]:
        """Return the answer of every row; rows of equal shapes are computed together.

        Raises RunFailed.
        """
        try:
            ragged = self._feeds.is_ragged
            answers = self._run_by_shape(rows) if ragged else self._run(rows)
        except tf_session.TensorFlowError as error:
            name = self.version.name
            raise RunFailed(f"model {name!r} failed: {error.message[:500]}") from None
        return self._transform(rows, answers) if self._transform else answers

    def outputs(self, rows: Sequence[Row]) -> list[Any]:
        """Run rows of equal shapes: one array per output, of shape [rows, …]."""
        return self._call(*self._feeds(rows))

    def warm(self, max_rows: int = 1) -> list[Timing]:
        """Run more and more rows; return the timings of `cost.batch_sizes`.

        The first runs of a graph optimize it. Raises RunFailed: staging has run this
        row, so a worker that cannot is broken.
        """
        rows = self.signature.check(self.description.example).rows
        row = self.dictionary.canonical(rows)
        for _ in range(2):
            self.run(row * min(8, max_rows))
        return measure_sizes(lambda size: self.run(row * size), max_rows)

    def close(self) -> None:
        """Free the session. The callable goes first: it keeps the session alive."""
        del self._call
        self._session.close()

    def _transformer(self) -> Transformer | None:
        reference = self.description.transformer
        if not reference:
            return None
        return Transformer(reference, self.version, self.signature.fields)

    def _load(self) -> Callable[..., list[Any]]:
        """Import the graph and its state; return what runs it."""
        directory = self.version.directory
        description = self.description
        loader = tf_session.import_graph(self._session, directory / "saved_model")
        weights.load(self._session, loader, directory / "weights", description.state)
        return tf_session.make_callable(
            self._session, description.feeds, description.fetches
        )

    def _run(self, rows: Sequence[Row]) -> list[bytes]:
        return self._answers(self._call(*self._feeds(rows)), len(rows))

    def _run_by_shape(self, rows: Sequence[Row]) -> list[bytes]:
        answers: list[bytes] = [b""] * len(rows)
        for places in by_shape(rows):
            for i, answer in zip(
                places, self._run([rows[i] for i in places]), strict=True
            ):
                answers[i] = answer
        return answers
