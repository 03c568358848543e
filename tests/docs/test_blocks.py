"""Every code block of README and docs/ does what it says."""

import os
import re
import shutil
import sys
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from tests.docs.blocks import (
    ROOT,
    Block,
    blocks_of,
    check_command,
    check_yaml,
    commands_of,
    run_command,
)
from tests.support.service import Service

# Its examples are run by test_examples.py.
EXAMPLES = ROOT / "docs" / "python-client.md"
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
BLOCKS = [*chain.from_iterable(map(blocks_of, PAGES))]
LANGUAGES = {"python", "console", "sh", "yaml", "text"}


def of(*languages: str) -> list[Block]:
    return [block for block in BLOCKS if block.language in languages]


@pytest.fixture
def here(flying: Service) -> Callable[[str], str]:
    """A function that puts the service's address into a block."""
    addresses = {
        "http://127.0.0.1:8080": flying.url,
        "http://a:8080": flying.url,
        "http://b:8080": "http://127.0.0.1:9",  # nothing listens there
    }
    pattern = "|".join(map(re.escape, addresses))
    return lambda text: re.sub(pattern, lambda found: addresses[found[0]], text)


@pytest.fixture(scope="session")
def folder(flying: Service, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the pages have their readers make."""
    made = tmp_path_factory.mktemp("pages")
    (made / "models").mkdir()
    (made / "models" / "flights").symlink_to(flying.folder / "flights")
    (made / "bin").mkdir()
    program = made / "bin" / "gomlx"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m gomlx "$@"\n')
    program.chmod(0o755)
    text = (ROOT / "README.md").read_text()
    config = re.findall(r"```yaml\n(# config.yaml\n.*?)```", text, re.S)
    (made / "config.yaml").write_text(config[0])
    return made


def test_every_block_has_a_language() -> None:
    assert not [str(one) for one in BLOCKS if one.language not in LANGUAGES]


@pytest.mark.parametrize("page", [p for p in PAGES if p != EXAMPLES], ids=str)
def test_python(
    page: Path,
    folder: Path,
    here: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    for block in blocks_of(page):
        if block.language == "python":
            exec(here(block.text), names)


@pytest.mark.parametrize("block", of("console"), ids=str)
def test_console(block: Block, folder: Path, here: Callable[[str], str]) -> None:
    if "curl" in block.text and not shutil.which("curl"):
        pytest.skip("curl is not installed")
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    for command, expected in commands_of(block.text):
        run_command(command, expected, folder, path, here)


@pytest.mark.parametrize("block", of("sh"), ids=str)
def test_commands_exist(block: Block) -> None:
    for line in block.text.splitlines():
        check_command(line)


@pytest.mark.parametrize("block", of("yaml"), ids=str)
def test_yaml(block: Block, tmp_path: Path) -> None:
    check_yaml(block.text, tmp_path)
