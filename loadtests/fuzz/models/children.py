"""Functions in processes of their own, which are forked from one with TensorFlow.

TensorFlow may end a process, or hang. Importing it takes seconds, so that processes are
forked from one that has, and has run nothing.
"""

import io
import json
import multiprocessing
import os
import random
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtests.fuzz.models.answers import FAILED, agree, is_failed
from loadtests.fuzz.models.damage import damage

_FORKS = multiprocessing.get_context("forkserver")
_IMPORTED = [
    "tensorflow",
    "keras",
    "gomlx.cli.server",
    "gomlx.models.staging.stage",
    "gomlx.models.staging.prepare",
    "gomlx.models.staging.keras_file",
    "gomlx.models.staging.signature.further",
    "loadtests.fuzz.models.graphs",
]


@dataclass(frozen=True)
class Ended:
    """How a function has ended. error: what it raised, or how its process ended."""

    value: Any = None
    error: str = ""
    was_raised: bool = False


class Forks:
    """Runs functions in processes, each for at most so many seconds.

    What they print is in the file `printed`.
    """

    def __init__(self, printed: Path, seconds: float) -> None:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        _FORKS.set_forkserver_preload(_IMPORTED)
        self._printed = printed
        self._seconds = seconds

    def run(self, function: Callable[..., Any], *arguments: Any) -> Ended:
        """Run a function of this module's; return how it ended."""
        ours, theirs = _FORKS.Pipe()
        call = (theirs, self._printed, function, arguments)
        process = _FORKS.Process(target=_call, args=call)
        process.start()
        theirs.close()
        try:
            if not ours.poll(self._seconds):
                return Ended(error=f"took over {self._seconds:g} s")
            found: Ended = ours.recv()
            return found
        except EOFError:
            process.join()
            return Ended(error=f"the process ended with code {process.exitcode}")
        finally:
            process.kill()
            process.join()
            ours.close()


def _call(
    connection: Any, printed: Path, function: Callable[..., Any], arguments: Any
) -> None:
    with printed.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        ended = Ended(function(*arguments))
    except Exception:
        ended = Ended(error=traceback.format_exc(), was_raised=True)
    connection.send(ended)
    connection.close()
    os._exit(0)  # TensorFlow's threads may be at work


def build(name: str, path: Path) -> None:
    """Save the model of a situation of the zoo."""
    from tests.models.zoo.catalogue import SITUATIONS

    SITUATIONS[name].build(path)


def damaged(folder: Path, seed: int) -> str:
    """Damage the files of a model, and return what was done."""
    return damage(folder, random.Random(seed))


def staged(request: str) -> dict[str, Any]:
    """Stage as the supervisor's process does; return what it prints last."""
    import typer

    from gomlx.cli.server import stage

    sys.stdin = io.StringIO(request)
    with redirect_stdout(io.StringIO()) as printed, suppress(typer.Exit):
        stage(parent=0)
    found: dict[str, Any] = json.loads(printed.getvalue().splitlines()[-1])
    return found


def served(version: Mapping[str, Any], rows: Sequence[Any]) -> list[Any]:
    """Return rows that a staged version accepts, each with its answer.

    The rows are those given, and its example. Raises AssertionError if they have other
    answers when they run together.
    """
    from gomlx.errors import InvalidInput
    from gomlx.models.serving.servable import Servable
    from gomlx.models.version import ModelVersion

    servable = Servable(ModelVersion.from_json(dict(version)))
    found = []
    for row in [*rows, servable.description.example]:
        with suppress(InvalidInput):
            checked = servable.signature.check(row).rows[:1]
            found.append([row, _answers(servable, checked)[0], checked[0]])
    if servable.description.joins_rows:
        _check_together(servable, found)
    return [[row, answer] for row, answer, _ in found]


def _check_together(servable: Any, found: Sequence[Any]) -> None:
    some = [one for one in found if not is_failed(one[1])] * 2
    together = _answers(servable, [checked for _, _, checked in some])
    for (row, alone, _), answer in zip(some, together, strict=True):
        assert agree(answer, alone), f"{row} alone: {alone}, among others: {answer}"


def _answers(servable: Any, rows: Sequence[Any]) -> list[Any]:
    """Run rows; return an answer for each, or why there is none."""
    from gomlx.contract.echoes import Echoes, completed
    from gomlx.errors import GomlxError

    try:
        found = servable.run(rows)
    except GomlxError as error:
        return [f"{FAILED}{error}"] * len(rows)
    if servable.signature.echoes:
        found = completed(found, Echoes(servable.signature).of(rows))
    return [json.loads(answer) for answer in found]


def by_objects(config: Mapping[str, Any], path: Path, rows: Sequence[Any]) -> Any:
    """Return the answers of a model, or why there are none."""
    from loadtests.fuzz.models import graphs

    return graphs.by_objects(config, path, rows)


def by_graph(config: Mapping[str, Any], path: Path, rows: Sequence[Any]) -> Any:
    """Return the answers of the graph of a model alone."""
    from loadtests.fuzz.models import graphs

    return graphs.by_graph(config, path, rows)
