"""Write the pages of docs/ that are made from the source, so that they stay true.

    python -m tests.docs.generate            # write them
    python -m tests.docs.generate --check    # exit with 1 if one is out of date

configuration.md is made from config.example.yaml and the config's structs, cli.md from
the commands' own help. metrics.md and python-client.md have a table each, between
markers: `<!-- NAME: begin -->` and `<!-- NAME: end -->`. internals/models.md is made
from the situations of tests/models/zoo.
"""

import inspect
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
import typer.main
from msgspec import NODEFAULT, Meta, Struct
from typer.core import TyperArgument, TyperGroup

from gomlx.cli import app
from gomlx.client.options import Options
from gomlx.config.schema import Config
from gomlx.metrics.declarations import COUNTERS, HISTOGRAMS
from gomlx.metrics.states import GAUGES, SCRAPED
from tests.models.zoo import page as situations

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
_EXAMPLE = ROOT / "config.example.yaml"
_KEY = re.compile(r"(\s*(?:- )?\{?)((\w+):.*)")  # indentation, all keys, the first key


def pages() -> dict[Path, str]:
    """Return what each generated page should hold."""
    metrics = DOCS / "metrics.md"
    client = DOCS / "python-client.md"
    return {
        DOCS / "configuration.md": configuration(_EXAMPLE.read_text()),
        DOCS / "cli.md": commands(),
        DOCS / "internals" / "models.md": situations.page(),
        metrics: between(metrics.read_text(), "metrics", metric_table()),
        client: between(client.read_text(), "options", option_table()),
    }


def between(text: str, name: str, lines: Iterable[str]) -> str:
    """Replace what stands between the markers of a name. Raises ValueError."""
    begin = f"<!-- {name}: begin -->"
    end = f"<!-- {name}: end -->"
    if text.count(begin) != 1 or text.count(end) != 1:
        raise ValueError(f"expected one {begin} and one {end}")
    before, _, rest = text.partition(begin)
    after = rest.partition(end)[2]
    return "\n".join([before + begin, *lines, end + after])


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a table of Markdown, a line each."""
    rule = ["---"] * len(head)
    return [f"| {' | '.join(line)} |" for line in (head, rule, *rows)]


# --- configuration.md ---


_CONFIGURATION = """\
# Configuration

`gomlx serve -c config.yaml` reads one YAML file; `gomlx check config.yaml` reports
every problem in it at once. Unknown keys are errors that name the nearest known key.
Relative paths are relative to the file. Durations and sizes end in their unit.

The shortest config names one model:

```yaml
models:
  - id: flights
    url: ./models/flights
```

## The environment

`${NAME}` in a value is a variable of the environment, `${NAME:-default}` one that need
not be set, `$${` a plain `${`. Put quotes around what is a text whatever it holds:

```yaml
connections:
  - id: near
    url: "redis://${REDIS_HOST:-localhost}:6379"
    password: "${REDIS_PASSWORD:-}"
```

A variable `GOMLX_` replaces an option of the file, with two underscores after a
section: `GOMLX_ENDPOINT__PORT=80`, `GOMLX_LOG_LEVEL=debug`. Lists are given as a whole,
as YAML: `GOMLX_MODELS='[{id: flights, url: /models/flights}]'`. A name that is no
option is an error.

## The file

This page is made from [`config.example.yaml`](../config.example.yaml), which has every
option, and from the code that reads it.
"""


@dataclass(frozen=True)
class Option:
    """One option: its path, as in `models.batch.max_rows`, and its comments."""

    path: str
    description: str


def configuration(example: str) -> str:
    """Return the page of all options."""
    described: dict[str, str] = {}
    for option in options(example):
        described[option.path] = described.get(option.path) or option.description
    parts = [_CONFIGURATION]
    for path, struct in sections(Config, ""):
        title = path or "Top level"
        parts.append(f"## {title.removesuffix('[]')}\n")
        if path and described.get(path):
            parts.append(f"{described[path]}\n")
        rows = [
            (f"`{name}`", _kind(field.type), _default(field), described[where])
            for name, field in _plain_fields(struct)
            for where in [f"{path}.{name}".lstrip(".")]
        ]
        parts.append("\n".join(table(("option", "values", "default", ""), rows)) + "\n")
    return "\n".join(parts)


def options(example: str) -> Iterator[Option]:
    """Yield the options of the example with its comments, in order."""
    above: list[str] = []
    parents: list[tuple[int, str]] = []  # indentation and key
    for line in example.splitlines():
        text, _, beside = line.partition(" # ")
        if line.lstrip().startswith("#"):
            above.append(line.lstrip(" #"))
            continue
        found = _KEY.match(text)
        if found:
            indent = len(found[1])
            while parents and parents[-1][0] >= indent:
                parents.pop()
            prefix = "".join(f"{key}." for _, key in parents)
            comment = " ".join([*above, beside.strip()]).strip()
            # In {a: 1, b: 2} the comment is for the last key.
            *others, last = (
                re.findall(r"(\w+):", found[2]) if "{" in found[1] else [found[3]]
            )
            yield from (Option(prefix + other, "") for other in others)
            yield Option(prefix + last, comment)
            if "{" not in found[1]:
                parents.append((indent, found[3]))
        above.clear()


def sections(struct: type[Struct], path: str) -> Iterator[tuple[str, type[Struct]]]:
    """Yield a struct and all structs below it, with their paths."""
    yield path, struct
    for field in msgspec.structs.fields(struct):
        inner = _struct_of(field.type)
        if inner:
            yield from sections(inner, f"{path}.{field.name}".lstrip("."))


def _plain_fields(struct: type[Struct]) -> list[tuple[str, Any]]:
    found = msgspec.structs.fields(struct)
    return [(field.name, field) for field in found if not _struct_of(field.type)]


def _struct_of(kind: Any) -> type[Struct] | None:
    inner = _inner(kind)
    candidates = [inner, *get_args(inner)]
    structs = [c for c in candidates if isinstance(c, type) and issubclass(c, Struct)]
    return structs[0] if structs else None


def _inner(kind: Any) -> Any:
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _kind(kind: Any) -> str:
    """Say in a few words what values a type admits."""
    bounds = [part for part in get_args(kind)[1:] if isinstance(part, Meta)]
    inner = _inner(kind)
    if get_origin(inner) in (Union, UnionType):
        some = [part for part in get_args(inner) if part is not NoneType]
        return " or ".join(map(_kind, some))
    if get_origin(inner) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(inner))
    if get_origin(inner) is tuple:
        return "list"
    if inner in (int, float):
        return _range(bounds[0]) if bounds else "number"
    return {str: "text", bool: "`true`, `false`"}.get(inner, "mapping")


def _range(meta: Meta) -> str:
    low = f"≥ {_number(meta.ge)}" if meta.ge is not None else f"> {_number(meta.gt)}"
    return f"{low}, ≤ {_number(meta.le)}" if meta.le is not None else low


def _number(value: Any) -> str:
    return f"{int(value):,}" if value == int(value) else str(value)


def _default(field: Any) -> str:
    if field.default is NODEFAULT:
        return "**required**" if field.default_factory is NODEFAULT else ""
    return _value(field.default)


def _value(value: Any) -> str:
    """Show a default; nothing for None and what is empty."""
    if isinstance(value, tuple):
        return ", ".join(map(_value, value))
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float) and value == int(value):
        return f"`{int(value)}`"
    return "" if value in (None, {}) else f"`{value}`"


# --- cli.md ---


_COMMANDS = """\
# Command line

`gomlx --help` and `gomlx COMMAND --help` print what this page says; `gomlx --version`
prints the version. `predict`, `bench` and `replay` need the extra `cli` only, as does
`conformance` unless it writes SavedModels; the others `server`.

Every command prints errors to standard error and exits with 0 for success, 1 for a
failure and 2 for wrong usage or a wrong config.
"""


def commands() -> str:
    """Return the page of all commands."""
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    parts = [_COMMANDS]
    for name, command in group.commands.items():
        if not command.hidden:
            parts.append(f"## {name}\n\n{_help(command)}\n\n{_parameters(command)}\n")
    return "\n".join(parts)


def _help(command: Any) -> str:
    text = inspect.cleandoc(command.help or "")
    text = text.replace("\b\n", "").replace("\f", "")
    blocks = text.split("\n\n")
    return "\n\n".join(
        f"```text\n{textwrap.dedent(block)}\n```" if block.startswith("    ") else block
        for block in blocks
    )


def _parameters(command: Any) -> str:
    rows = []
    for parameter in command.params:
        names = ", ".join(f"`{one}`" for one in parameter.opts)
        if isinstance(parameter, TyperArgument):
            names = f"`{(parameter.metavar or parameter.name).upper()}`"
        about = getattr(parameter, "help", "") or ""
        if parameter.required:
            about += " Required."
        elif _has_default(parameter.default):
            about += f" Default: {_shown_default(parameter.default)}."
        rows.append((names, about.strip().replace("|", "\\|")))
    return "\n".join(table(("", ""), rows))


def _has_default(value: Any) -> bool:
    return value is not None and value is not False and value not in ((), [])


def _shown_default(value: Any) -> str:
    if value == "":
        return "none"
    return f"`{getattr(value, 'value', value)}`"


# --- tables in other pages ---


def metric_table() -> list[str]:
    """Return the table of all metrics in Prometheus' format."""
    rows = []
    kinds = (("counter", COUNTERS), ("histogram", HISTOGRAMS), ("gauge", GAUGES))
    for kind, declared in kinds:
        for name, declaration in declared.items():
            suffix = "_total" if kind == "counter" else ""
            labels = ", ".join(declaration.labels)
            rows.append((f"`{name}{suffix}`", kind, labels, declaration.help))
    for name, declaration in SCRAPED.items():
        kind = "counter" if name.endswith("_total") else "gauge"
        labels = ", ".join(declaration.labels)
        rows.append((f"`{name}`", kind, labels, declaration.help))
    return table(("metric", "type", "labels", ""), rows)


def option_table() -> list[str]:
    """Return the table of the client's options, with the comments beside them."""
    source = inspect.getsource(Options)
    rows = []
    for field in fields(Options):
        found = re.search(rf"    {field.name}: .*?# (.*?)\n(?=    \w|\n)", source, re.S)
        assert found, field.name
        about = re.sub(r"\s*\n\s*\)?", " ", found[1]).strip()
        rows.append((f"`{field.name}`", _value(field.default), about))
    return table(("option", "default", ""), rows)


def main(arguments: Sequence[str]) -> int:
    """Write the pages, or tell with an exit code whether they are as they should be."""
    wrong = [path for path, text in pages().items() if _read(path) != text]
    if "--check" in arguments:
        for path in wrong:
            sys.stderr.write(f"{path}: run `make docs`\n")
        return 1 if wrong else 0
    for path in wrong:
        path.write_text(pages()[path])
    return 0


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
