"""What the README shows of the client does what it says."""

import re
from pathlib import Path
from typing import Any

from tests.support.service import Service

README = (Path(__file__).parents[2] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_six_lines(flying: Service) -> None:
    """Nothing listens at the second host."""
    block = next(block for block in BLOCKS if "http://a:8080" in block)
    here = block.replace("http://a:8080", flying.url)
    names: dict[str, Any] = {}
    exec(here.replace("http://b:8080", "http://127.0.0.1:9"), names)
    assert not names["client"]._core.session


def test_the_fake_transport() -> None:
    exec(next(block for block in BLOCKS if "FakeTransport" in block), {})
