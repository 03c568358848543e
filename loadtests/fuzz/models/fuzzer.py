"""Models with damaged files are staged; what is staged answers as TensorFlow does."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from gomlx.cli.service import stage_request
from gomlx.config.schema import Model
from gomlx.models.version import StageRequest
from loadtests.fuzz.cases import Case, Finding
from loadtests.fuzz.models import children
from loadtests.fuzz.models.answers import FAILED, agree, is_failed
from loadtests.fuzz.models.children import Ended, Forks

_SECONDS = 60.0  # of one process
_LONGEST_REASON = 2000
_MISFIT = f"{FAILED}Cannot feed value of shape"
_ROWS: dict[str, list[Any]] = {
    "two numbers through dense layers": [{"p": 1.5, "q": 2.0}, {"p": -3, "q": 0.1}],
    "Keras preprocessing of words, integers and prices": [
        {"city": "rome", "day": 1, "price": 2.5},
        {"city": "x", "day": 8, "price": -1.0},
    ],
    "a table from an asset": [{"w": "rome"}, {"w": "x"}],
    "an LSTM over sequences of any length": [{"ids": [1, 2, 3]}, {"ids": [7] * 9}],
    "ids in a text": [{"w": "1,2"}, {"w": "3,4,5,6"}, {"w": ""}],
    "a .keras file": [{"x": [1, 2, 3, 4]}, {"x": [0, 0, 0, 0]}],
    "the second of two signatures": [{"x": 1.0}, {"x": -2.5}],
    "a threshold for the request": [{"x": [1, 2, 3, 4], "threshold": 0.5}],
    "a loop until every sequence has ended": [{"x": [[1, 2], [3, 4]]}],
    "wide and deep, with crosses, of TensorFlow 1": [
        {"city": "rome", "tags": "warm cheap", "age": 17.5, "shop": 3}
    ],
}
_CONFIGS: dict[str, dict[str, Any]] = {
    "the second of two signatures": {"signature": "shifted"}
}


class Damaged:
    """Models of the zoo by name, saved in a folder each; only: of this one name."""

    def __init__(self, folder: Path, forks: Forks, only: str) -> None:
        self._folder = folder
        self._forks = forks
        self._sources: dict[str, Path] = {}
        for place, name in enumerate(_ROWS):
            if only in name:
                self._sources[name] = folder / f"source-{place}"
                built = forks.run(children.build, name, self._sources[name])
                if built.error:
                    raise RuntimeError(built.error)

    def case(self, seed: int) -> str:
        """Damage a model, stage it, and compare what is served. Raises Finding."""
        names = [*self._sources]
        name = names[seed % len(names)]
        with self._copied(name) as folder:
            done = self._forks.run(children.damaged, folder / "model", seed)
            if done.error:
                raise RuntimeError(done.error)
            what = f"{name}: {done.value}"
            ended = self._forks.run(children.staged, request_of(name, folder).to_json())
            if ended.was_raised:
                raise Finding(f"{what}\nstaging raised {ended.error}")
            if ended.error:
                return "the process that stages has ended, or hung"
            if "version" not in ended.value:
                return _refused(what, ended.value["error"])
            return self._compare(name, what, folder, ended.value["version"])

    def _compare(
        self, name: str, what: str, folder: Path, version: Mapping[str, Any]
    ) -> str:
        served = self._forks.run(children.served, version, _ROWS[name])
        if served.error:
            raise Finding(f"{what}\nit is staged, but in a worker: {served.error}")
        rows = [row for row, _ in served.value]
        answers = [answer for _, answer in served.value]
        problem = ""
        for way in (children.by_objects, children.by_graph):
            config = {"signature": version["signature"] or "serving_default"}
            expected = self._forks.run(way, config, folder / "model", rows)
            problem = _difference(answers, expected)
            if not problem:
                return _kind(answers)
        raise Finding(f"{what}\n{problem}")

    @contextmanager
    def _copied(self, name: str) -> Iterator[Path]:
        folder = self._folder / "case"
        folder.mkdir()
        try:
            shutil.copytree(self._sources[name], folder / "model")
            yield folder
        finally:
            shutil.rmtree(folder)


def request_of(name: str, folder: Path) -> StageRequest:
    """Return the request to stage a model of the zoo from a folder."""
    model = Model(
        id="m",
        url=str(folder / "model"),
        signature=_CONFIGS.get(name, {}).get("signature"),
        signatures="none",
    )
    return replace(stage_request(model, folder / "staged"), confined=True)


def _refused(what: str, reason: str) -> str:
    if not reason.strip() or len(reason) > _LONGEST_REASON or "Traceback" in reason:
        raise Finding(f"{what}\nno reason that helps: {reason!r}")
    return "refused with a reason"


def _difference(answers: list[Any], expected: Ended) -> str:
    """Return how answers differ from TensorFlow's; nothing if they do not."""
    if expected.error:
        return f"it answers {answers}, but TensorFlow: {expected.error}"
    if any(one for one in expected.value if str(one).startswith(_MISFIT)):
        return ""  # the signature says another shape than the graph
    pairs = zip(answers, expected.value, strict=True)
    return next(
        (f"answers {a}, TensorFlow {e}" for a, e in pairs if not agree(a, e)), ""
    )


def _kind(answers: list[Any]) -> str:
    if any(map(is_failed, answers)):
        return "staged, and refuses rows as TensorFlow does"
    return "staged, and answers as TensorFlow does"


@contextmanager
def opened(folder: Path, only: str) -> Iterator[Case]:
    """Build the models whose name has `only`, and yield what tries a seed."""
    yield Damaged(folder, Forks(folder / "printed", _SECONDS), only).case
