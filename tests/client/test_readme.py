"""What the README shows of the client does what it says."""

import re
from pathlib import Path

import pytest

README = (Path(__file__).parents[2] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("block", [b for b in BLOCKS if "FakeTransport" in b])
def test_an_example(block: str) -> None:
    exec(block, {})
