"""The cost of a vocabulary of a million strings: python -m loadtests.parts.million

Stages a model that looks up a word in a table, and loads it as a worker does, each in a
process of its own. Prints seconds, bytes and the cost of a key.
"""

import os
import tempfile
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from time import perf_counter, process_time
from timeit import repeat
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from gomlx.contract import canonical
from gomlx.contract.dictionary import Dictionary
from gomlx.models.version import ModelVersion, StageRequest

WORDS = 1_000_000


def build(path: Path) -> None:
    """Export the model."""
    from tests.support.saved_models import lookup

    lookup(path, [f"a-word-of-some-length-{n:07}" for n in range(WORDS)])
    size = (path / "saved_model.pb").stat().st_size
    print(f"{WORDS:,} words, a saved_model.pb of {size / 1e6:.0f} MB")  # noqa: T201


def stage(request: StageRequest) -> ModelVersion:
    """Stage the model, and print what that costs."""
    from gomlx.models.serving import servable
    from gomlx.models.staging import stage

    assert servable  # TensorFlow is imported before the clock starts
    version: ModelVersion = timed("staging", lambda: stage.stage(request))
    return version


def load(version: ModelVersion) -> None:
    """Load the model as a worker does, and look up words."""
    from gomlx.models.serving.servable import Servable

    data = (version.directory / "dictionary").read_bytes()
    print(f"dictionary: {len(data) / 1e6:.0f} MB")  # noqa: T201
    timed("dictionary", lambda: canonical.parse(data))
    servable = timed("a worker's load", lambda: Servable(version))
    timed("a worker's first runs", servable.warm)
    for word in ("a-word-of-some-length-0500000", "not a word"):
        look_up(servable.dictionary, word)


def look_up(dictionary: Dictionary, word: str) -> None:
    """Print the cost of a word's key."""
    rows = [(word,)]
    runs = repeat(lambda: dictionary.keys(dictionary.canonical(rows)), number=10_000)
    print(f"key of {word!r}: {min(runs) / 10_000 * 1e6:.2f} us")  # noqa: T201


def timed(what: str, call: Callable[[], Any]) -> Any:
    """Call, print what that costs, and return the result."""
    started = perf_counter()
    cpu_started = process_time()
    result = call()
    wall = perf_counter() - started
    cpu = process_time() - cpu_started
    peak = getrusage(RUSAGE_SELF).ru_maxrss // 1024
    print(f"{what}: {wall:.1f} s, {cpu:.1f} s of CPU; peak {peak} MB")  # noqa: T201
    return result


def main() -> None:
    """Build, stage and load the model, each in a new process."""
    with (
        tempfile.TemporaryDirectory() as folder,
        get_context("spawn").Pool(1, maxtasksperchild=1) as process,
    ):
        source = Path(folder) / "source"
        process.apply(build, (source,))
        request = StageRequest(
            "m", str(source), Path(folder) / "staged", "serving_default", {}
        )
        process.apply(load, (process.apply(stage, (request,)),))


if __name__ == "__main__":
    main()
