"""The promise of the cache: a row, its canonical row and what is served agree."""

import asyncio
import json
import math
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gomlx.cache.local import Local, LocalCounts
from gomlx.cache.shared_memory.store import create_store
from gomlx.cache.shared_memory.tier import SharedMemory
from gomlx.cache.tiered import Tiered
from gomlx.contract.canonical import Buckets, Kind, Vocabulary
from gomlx.contract.tensor import Row, Tensor
from gomlx.errors import RunFailed
from gomlx.metrics.declarations import SECONDS
from gomlx.metrics.instruments import Counter, Histogram
from gomlx.models.serving.current import Current, LiveVersion
from gomlx.models.serving.servable import Servable
from gomlx.models.staging.stage import stage
from gomlx.models.version import ModelVersion, StageRequest
from gomlx.server.predict.policy import CachePolicy
from gomlx.server.predict.predictor import Predictor, RowLimits
from gomlx.server.predict.reply import Reply
from tests.conftest import LEGACY
from tests.models.batching.test_batcher import batcher_of
from tests.support.families import COLLAPSING, EXACT

LEGACIES = ("string_lookups_float_model", "float_input_float_model")
# The first has two answers for one row; the second runs as long as its input says.
UNFIT = ("written table", "decides a loop")
FAMILIES = [
    *COLLAPSING,
    *(name for name in EXACT if name not in UNFIT),
    *LEGACIES,
]
relaxed = settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
Load = Callable[[str], Servable]


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    """A function that builds and stages a family, once."""
    folder = tmp_path_factory.mktemp("families")

    @cache
    def servable(family: str) -> Servable:
        source = LEGACY / family
        if family not in LEGACIES:
            make, _ = (COLLAPSING | EXACT)[family]
            source = make(folder / family.replace(" ", "-"))
        elif not source.is_dir():
            pytest.skip("the TensorFlow 2.4 models are not here")
        request = StageRequest(
            "m", str(source), folder / "staged", "serving_default", {}
        )
        return Servable(stage(request))

    return servable


def values(tensor: Tensor, kind: Kind) -> st.SearchStrategy[Any]:
    """Values of an input, many of them at the edges that its kind has."""
    edges: list[Any] = []
    if isinstance(kind, Vocabulary):
        edges = [v for v in (*kind.known, kind.unknown) if isinstance(v, str | int)]
    elif isinstance(kind, Buckets):
        edges = [near for x in kind.thresholds for near in _near(x, tensor.dtype)]
    if tensor.dtype == "string":
        words = st.sampled_from(["", "[UNK]", "Rome", "rome ", "東京😀", "\0", *edges])
        element = words | st.text(max_size=4)
    elif "int" in tensor.dtype:
        limits = np.iinfo(tensor.dtype)
        low = int(limits.min)
        high = int(limits.max)
        most = [
            e for e in (-1, 0, 1, 2, 3, 5, 7, low, high, *edges) if low <= e <= high
        ]
        element = st.sampled_from(most) | st.integers(low, high) | st.integers(-9, 9)
    else:
        some = st.floats(*tensor.bounds) if tensor.bounds else st.floats()
        element = (
            st.sampled_from([0.0, -0.0, 0.1, 0.0999, 0.5, -1e-45, *edges])
            | some
            | st.integers(-9, 9)
        )
    if tensor.is_scalar:
        return element
    (size,) = tensor.shape or (1,)
    return st.lists(element, min_size=size or 1, max_size=size or 3)


def _near(x: float, dtype: str) -> list[Any]:
    if "int" in dtype:
        return [int(x) - 1, int(x), int(x) + 1]
    as_float = np.float32(x)
    return [
        float(np.nextafter(as_float, np.float32(way))) for way in (-3e38, x, 3e38)
    ] + [math.nextafter(float(x), -math.inf)]


def requests(servable: Servable) -> st.SearchStrategy[list[dict[str, Any]]]:
    pairs = zip(servable.signature.fields, servable.dictionary.kinds, strict=True)
    rows = st.fixed_dictionaries({t.name: values(t, k) for t, k in pairs})
    return st.lists(rows, min_size=1, max_size=6)


def rows_of(servable: Servable, columns: Sequence[dict[str, Any]]) -> list[Row]:
    return [row for one in columns for row in servable.signature.check(one).rows]


def answers(servable: Servable, rows: Sequence[Row]) -> list[bytes | str]:
    """What the model gives for each row alone: an answer, or that it refuses."""
    found: list[bytes | str] = []
    for row in rows:
        try:
            found += servable.run([row])
        except RunFailed:
            found.append("refused")
    return found


def twin(
    servable: Servable, row: Row, others: Sequence[Row], data: st.DataObject
) -> Row:
    """A row whose values are those of other rows, as long as they collapse to its."""
    canonical = servable.dictionary.canonical
    (wanted,) = canonical([row])
    collapsed = list(zip(others, canonical(others), strict=True))
    return tuple(
        data.draw(st.sampled_from([r[i] for r, c in collapsed if c[i] == value]))
        for i, value in enumerate(wanted)
    )


@pytest.mark.parametrize("family", FAMILIES)
@given(data=st.data())
@relaxed
def test_rows_of_one_key_and_their_canonical_row_have_one_answer(
    load: Load, family: str, data: st.DataObject
) -> None:
    servable = load(family)
    rows = rows_of(servable, data.draw(requests(servable)))
    rows += [twin(servable, row, rows, data) for row in rows]
    canonical = servable.dictionary.canonical(rows)
    found = answers(servable, rows)
    assert answers(servable, canonical) == found
    by_key: dict[bytes, bytes | str] = {}
    for key, answer in zip(servable.dictionary.keys(canonical), found, strict=True):
        assert by_key.setdefault(key, answer) == answer


class Served:
    """The request path over one model and a store of its own."""

    def __init__(self, servable: Servable, folder: Path) -> None:
        from tests.server.conftest import Counts

        self.runner = asyncio.Runner()
        counts: Any = Counts()
        create_store(folder / "store", 16 << 20)

        async def start() -> None:
            tier = SharedMemory(folder / "store")
            tier_counts = LocalCounts(lambda *_: Counter(), Histogram(SECONDS))
            self.cache = Tiered(Local(tier, tier_counts, 1 << 20), [], 600)
            self.current = Current(["m"])
            self.swap(servable)
            limits = {"m": RowLimits(100, 100)}
            self.cached, self.uncached = (
                Predictor(self.current, {"m": caching}, limits, counts)
                for caching in (CachePolicy(self.cache), CachePolicy(None))
            )

        self.runner.run(start())

    def swap(self, servable: Servable) -> None:
        """Serve this version from now on, as a worker would."""
        self.widest = 0  # most rows that ran together

        def run(rows: Sequence[Row]) -> list[bytes]:
            self.widest = max(self.widest, len(rows))
            return servable.run(rows)

        max_rows = 64 if servable.description.joins_rows else 1
        live = LiveVersion(servable, batcher_of(run, max_rows))
        self.current.swap({"m": live}, lambda _: None)

    def send(self, request: dict[str, Any]) -> Reply:
        (reply,) = self.send_at_once([request], self.cached)
        return reply

    def send_at_once(
        self, requests: Sequence[dict[str, Any]], predictor: Predictor
    ) -> list[Reply]:
        """Send requests in one turn of the event loop: their misses run together."""

        async def gathered() -> list[Reply]:
            loop = asyncio.get_running_loop()
            replies: list[asyncio.Future[Reply]] = []
            for request in requests:
                replies.append(loop.create_future())
                predictor.submit("m", orjson.dumps(request), replies[-1].set_result)
            return await asyncio.gather(*replies)

        return self.runner.run(gathered())

    def close(self) -> None:
        self.runner.run(self.cache.close())
        self.runner.close()


@pytest.fixture
def serve(load: Load, shared_folder: Path) -> Iterator[Callable[[str], Served]]:
    """A function that serves a family, until the test ends."""
    open_ones: dict[str, Served] = {}

    def served(family: str) -> Served:
        if family not in open_ones:
            open_ones[family] = Served(load(family), shared_folder)
        return open_ones[family]

    yield served
    for one in open_ones.values():
        one.close()


def data_of(reply: Reply) -> Any:
    """The data of a reply; for a row that the model refuses, that it does."""
    return json.loads(reply.body)["data"] if reply.status == 200 else "refused"


def batch_of(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    columns: dict[str, Any] = {name: [row[name] for row in rows] for name in rows[0]}
    return columns | {"batch_size": len(rows)}


def agree(found: Any, expected: Any) -> bool:
    """Equal, but for the last bits, which the size of a batch may change."""
    if isinstance(expected, list) and isinstance(found, list):
        return len(found) == len(expected) and all(map(agree, found, expected))
    if isinstance(expected, dict) and isinstance(found, dict):
        return all(agree(found.get(name), y) for name, y in expected.items())
    if isinstance(expected, float) and isinstance(found, float):
        return math.isclose(found, expected, rel_tol=1e-5, abs_tol=1e-6)
    return bool(found == expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_served_is_what_the_canonical_row_gives(
    load: Load, serve: Callable[[str], Served], family: str
) -> None:
    servable = load(family)
    served = serve(family)

    @given(data=st.data())
    @relaxed
    def holds(data: st.DataObject) -> None:
        drawn = data.draw(requests(servable))
        canonical = servable.dictionary.canonical(rows_of(servable, drawn))
        expected = [
            json.loads(answer) if isinstance(answer, bytes) else answer
            for answer in answers(servable, canonical)
        ]
        count = data.draw(st.integers(0, len(drawn)))
        for request, answer in zip(drawn[:count], expected, strict=False):
            first = data_of(served.send(request))  # cold, or warm by a twin
            assert agree(first, answer)
            again = served.send(request)
            assert data_of(again) == first
            assert answer == "refused" or "; hit" in again.cache_status
        whole = "refused" if "refused" in expected else expected
        for predictor in (served.cached, served.cached, served.uncached):
            replies = served.send_at_once([*drawn, batch_of(drawn)], predictor)
            assert all(map(agree, map(data_of, replies), [*expected, whole]))

    holds()
    assert (served.widest > 1) == servable.description.joins_rows


def scored(path: Path, weight: float) -> Path:
    """A Keras model: one weight for each city that it knows, and one for the others."""
    import keras as k

    city = k.Input((1,), name="city", dtype="string")
    known = k.layers.StringLookup(vocabulary=["rome", "oslo"])(city)
    initial = k.initializers.Constant(weight)
    score = k.layers.Embedding(3, 1, embeddings_initializer=initial)(known)
    k.Model(city, {"score": k.layers.Flatten()(score)}).export(str(path), verbose=False)
    return path


def test_new_weights_behind_one_vocabulary_never_have_an_old_answer(
    tmp_path: Path, shared_folder: Path, staged: Callable[..., ModelVersion]
) -> None:
    """One store, two versions that differ in nothing but their weights, and back."""
    weights = (1.0, 2.0)
    old, new = (
        Servable(staged(scored(tmp_path / f"{weight}", weight))) for weight in weights
    )
    assert old.dictionary.kinds == new.dictionary.kinds
    assert old.version.digest != new.version.digest
    assert old.version.dict_hash != new.version.dict_hash
    rows = [{"city": city} for city in ("rome", "oslo", "lima", "")]
    served = Served(old, shared_folder)
    for servable, weight, is_known in ((old, 1.0, 0), (new, 2.0, 0), (old, 1.0, 1)):
        served.swap(servable)
        for hits in (is_known, 1):
            reply = served.send(batch_of(rows))
            assert data_of(reply) == [{"score": weight}] * 4
            assert ("; hit" in reply.cache_status) == bool(hits)
            assert reply.version == servable.version.digest
    served.close()
