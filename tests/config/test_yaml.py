"""What is no YAML, or YAML with repeated keys, is refused."""

from pathlib import Path

import pytest

from gomlx.config.load import load_config
from gomlx.errors import ConfigInvalid
from tests.config.conftest import MINIMAL, problems


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (MINIMAL + "run_dir: a\nrun_dir: b\n", "line 3: run_dir"),
        (
            MINIMAL + "watch:\n  poll_seconds: 1\n  poll_seconds: 1\n",
            "line 4: watch.poll",
        ),
        ("models:\n- id: a\n  url: x\n  url: y\n", "line 4: models[0].url"),
        (MINIMAL + MINIMAL, "line 2: models"),
    ],
)
def test_a_key_given_twice_is_refused(path: Path, text: str, where: str) -> None:
    found = problems(path, text)
    assert any(p.startswith(where) and "more than once" in p for p in found)


@pytest.mark.parametrize(
    "text",
    [
        "models: [",
        "a: b: c",
        "\tmodels: []",
        "a: \0",
        "--- 1\n--- 2\n",
        "a: !unknown b",
        "a: *nowhere",
        "? [a]\n: 1\n",
        "? {a: 1}\n: 1\n",
        "a: {[b]: 1}",
        "a: !!int b",
        "a: !!timestamp b",
        "a: 2024-13-45",
        "a: 0b_",
        "a: " + "9" * 5000,
        "[" * 2000,
        "a: " + "[" * 2000 + "]" * 2000,
        "a: &a [*a]",
    ],
)
def test_invalid_yaml_is_refused(path: Path, text: str) -> None:
    assert problems(path, text)


def test_bytes_that_are_not_text_are_refused(path: Path) -> None:
    path.write_bytes(b"models: \xff\n")
    with pytest.raises(ConfigInvalid):
        load_config(path)


def test_a_file_that_cannot_be_read_is_refused(path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="No such file"):
        load_config(path)
    with pytest.raises(ConfigInvalid, match="directory"):
        load_config(path.parent)
