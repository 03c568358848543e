"""What the README shows of the client does what it says."""

import re
from pathlib import Path
from typing import Any

import pytest

README = (Path(__file__).parents[2] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


EXAMPLES = [block for block in BLOCKS if "FakeTransport" in block]


@pytest.mark.parametrize("n", range(1))
def test_an_example(n: int) -> None:
    names: dict[str, Any] = {}
    exec(EXAMPLES[n], names)
    names["client"].close()
