"""Libraries that register operations of their own, imported before a graph is loaded.

A staged version has their names in the file `libraries`, one a line. Their installed
versions are part of a version's digest: another release may answer differently.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from gomlx.errors import StageFailed

_FILE = "libraries"


class _Library(NamedTuple):
    """A library that is known by its operations. package: for pip."""

    module: str
    package: str
    operations: re.Pattern[str]


_KNOWN = (
    _Library(
        "tensorflow_text",
        "tensorflow-text",
        re.compile(
            "TFText>|Sentencepiece|SentenceFragments|(Fast)?Wordpiece|PhraseTokenize|"
            "(Whitespace|UnicodeScript|SplitMerge)Tokenize|RegexSplitWithOffsets|"
            "(NormalizeUTF8|CaseFoldUTF8|FastBertNormalize|FindSourceOffsets|RougeL|"
            "ConstrainedSequence|TokenizerFromLogits|MaxSpanningTree)"
        ),
    ),
    _Library(
        "tensorflow_decision_forests",
        "tensorflow-decision-forests",
        re.compile("SimpleML"),
    ),
    _Library("scann", "scann", re.compile("Scann>")),
    _Library("tensorflow_addons", "tensorflow-addons", re.compile("Addons>")),
    _Library("tensorflow_io", "tensorflow-io", re.compile("IO>")),
    _Library(
        "tensorflow_recommenders_addons",
        "tensorflow-recommenders-addons",
        re.compile("TFRA>"),
    ),
)


def digest(names: Sequence[str]) -> str:
    """Return what tells installed libraries from others. Raises StageFailed."""
    installed = metadata.packages_distributions() if names else {}
    return "\n".join(f"{name} {_release(name, installed)}" for name in names)


def write(directory: Path, names: Sequence[str]) -> None:
    """Write the names of a version's libraries into its directory."""
    (directory / _FILE).write_text("".join(f"{name}\n" for name in names))


def load(directory: Path) -> None:
    """Import the libraries of a version. Raises StageFailed."""
    for name in (directory / _FILE).read_text().splitlines():
        try:
            import_module(name)
        except ModuleNotFoundError as error:
            if error.name and name.startswith(error.name):
                raise _missing(name) from None
            raise _broken(name, error) from error
        except Exception as error:  # whatever a module does when it is imported
            raise _broken(name, error) from error


def check_operations(meta_graph: Any, names: Sequence[str]) -> None:
    """Raise StageFailed if no library has registered an operation of the graph."""
    from tensorflow.python.framework import op_def_registry

    graph = meta_graph.graph_def
    functions = {function.signature.name for function in graph.library.function}
    types = {node.op for node in _nodes(graph)} - functions
    unknown = sorted(op for op in types if op_def_registry.get(op) is None)
    if unknown:
        raise StageFailed(_unknown(unknown, names))


def _nodes(graph: Any) -> Iterator[Any]:
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def


def _unknown(operations: Sequence[str], names: Sequence[str]) -> str:
    few = ", ".join(operations[:5]) + (", …" if len(operations) > 5 else "")
    loaded = f", nor of {', '.join(names)}" if names else ""
    found = next((lib for op in operations if (lib := _known_by(op))), None)
    if found is None:
        todo = "name the Python module that registers them: `libraries: [MODULE]`"
    else:
        todo = (
            f"name their library, `libraries: [{found.module}]` (pip install "
            f"{found.package})"
        )
    return f"operations {few} of the graph are not TensorFlow's{loaded}: {todo}"


def _known_by(operation: str) -> _Library | None:
    return next((one for one in _KNOWN if one.operations.match(operation)), None)


def _release(name: str, installed: Mapping[str, list[str]]) -> str:
    """Return the release of the package of a module; of a lone file, its digest."""
    top = name.partition(".")[0]
    if top in installed:
        return " ".join(metadata.version(one) for one in sorted(set(installed[top])))
    spec = find_spec(top)
    if spec is None:
        raise _missing(name)
    path = Path(spec.origin or "")
    data = path.read_bytes() if path.is_file() else b""
    return blake2b(data, digest_size=16).hexdigest()


def _missing(name: str) -> StageFailed:
    packages = {one.module: one.package for one in _KNOWN}
    package = packages.get(name.partition(".")[0], name.partition(".")[0])
    return StageFailed(
        f"libraries: {name!r} is not installed where the service runs: pip install "
        f"{package}, in the release for the installed TensorFlow"
    )


def _broken(name: str, error: Exception) -> StageFailed:
    reason = f"{type(error).__name__}: {error}"[:500]
    return StageFailed(
        f"libraries: {name!r} cannot be imported: {reason} (is it the release for the "
        "installed TensorFlow?)"
    )
