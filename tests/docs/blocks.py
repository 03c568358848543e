"""The code blocks of a page of Markdown, and how each kind of them is run.

    python    executed, all blocks of a page in one namespace
    console   commands after `$ `, each with what it prints; `…` stands for anything
    sh        commands that are checked, not run: do target, extra, options exist?
    yaml      a whole config, or sections of one; of other programs only parsed
    text      drawings and output: not code

Addresses in a block stand for the service of the test.
"""

import configparser
import re
import shlex
import subprocess
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer.main
import yaml
from typer.core import TyperGroup

from gomlx.cli import app
from gomlx.config.load import load_config

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.M | re.S)
_COMMAND_SECONDS = 240
_MODEL = {"id": "flights", "url": "./models/flights"}


@dataclass(frozen=True)
class Block:
    """A fenced block: its page, its number there, its language and its text."""

    page: Path
    number: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}-{self.number}-{self.language}"


def blocks_of(page: Path) -> Iterator[Block]:
    """Yield the blocks of a page."""
    for number, found in enumerate(_FENCE.finditer(page.read_text()), 1):
        yield Block(page, number, found[2], textwrap.dedent(found[3]))


def commands_of(text: str) -> Iterator[tuple[str, str]]:
    """Yield the commands of a console block, each with what it is to print."""
    for part in re.split(r"^\$ ", text, flags=re.M)[1:]:
        command, _, printed = part.partition("\n")
        yield command, printed.strip()


def run_command(
    command: str, expected: str, folder: Path, path: str, here: Callable[[str], str]
) -> None:
    """Run a command in a folder, and compare what it prints."""
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", here(command)],
        cwd=folder,
        env={"PATH": path, "HOME": str(folder), "COLUMNS": "200", "TERM": "dumb"},
        capture_output=True,
        text=True,
        timeout=_COMMAND_SECONDS,
        check=False,
    )
    printed = "\n".join(line.rstrip() for line in done.stdout.splitlines()).strip()
    assert done.returncode == 0, f"{command}\n{printed}\n{done.stderr}"
    pattern = ".*".join(map(re.escape, here(expected).split("…")))
    if expected:
        assert re.fullmatch(pattern, printed, re.S), f"{command}\n{printed}"


def check_command(line: str) -> None:
    """Fail unless what a command names exists."""
    program, *arguments = shlex.split(line, comments=True)
    _CHECKS[program](arguments)


def check_yaml(text: str, folder: Path) -> None:
    """Fail unless a block is YAML, and a config if it has sections of one."""
    document = yaml.safe_load(text)
    sections = {"models", "datastores", "connections", "endpoint", "watch"}
    if not sections & document.keys():
        return
    datastores = {model.get("datastore") for model in document.get("models", ())}
    base: dict[str, Any] = {"models": [_MODEL]}
    base["datastores"] = [{"id": name} for name in datastores if name]
    path = folder / "block.yaml"
    path.write_text(yaml.safe_dump(base | document))
    load_config(path)


def _check_pip(arguments: list[str]) -> None:
    assert arguments[0] == "install"
    extra = re.fullmatch(r"(?:gomlx|\.)(?:\[(\w+)\])?", arguments[1])
    assert extra, arguments
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert extra[1] is None or extra[1] in setup["options.extras_require"]


def _check_make(arguments: list[str]) -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
    assert arguments[0] in targets, arguments


def _check_module(arguments: list[str]) -> None:
    assert arguments[0] == "-m"
    parts = arguments[1].split(".")
    path = ROOT.joinpath(*parts)
    assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()


def _check_gomlx(arguments: list[str]) -> None:
    """Have the command line parse the arguments. Raises typer's UsageError."""
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    command = group.commands[arguments[0]]
    command.make_context(arguments[0], arguments[1:])


_CHECKS: dict[str, Callable[[list[str]], None]] = {
    "pip": _check_pip,
    "make": _check_make,
    "gomlx": _check_gomlx,
    "python": _check_module,
}
