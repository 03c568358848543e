"""The examples of the client's page run as they are, against a real service."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gomlx
from tests.client.flights import ROW
from tests.support import redis_servers
from tests.support.service import Service, wait_for

PAGE = (Path(__file__).parents[2] / "docs" / "python-client.md").read_text()
SECTIONS = [
    (title, re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    for title, text in re.findall(r"^##? (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.S | re.M)
]
EXAMPLES = [(title, blocks) for title, blocks in SECTIONS[1:] if blocks]
SHARED = "\n".join(SECTIONS[0][1])
PATIENT = gomlx.Options(timeout_seconds=30, redis_seconds=30)


@pytest.fixture
def here(flying: Service, near: redis_servers.Server) -> Callable[[str], str]:
    """A function that puts real addresses and long timeouts into an example."""
    instead = {
        "http://a:8080": flying.url,
        "http://b:8080": "http://127.0.0.1:9",
        # With the timeouts that a busy machine needs.
        'redis="redis://a:6379/0"': f'redis="{near.url}", options=PATIENT',
        "timeout_seconds=1.0": "timeout_seconds=30.0",
        "timeout_seconds=2.0": "timeout_seconds=30.0",
    }
    return lambda code: re.sub(
        "|".join(map(re.escape, instead)), lambda m: instead[m[0]], code
    )


@pytest.mark.parametrize(
    ("title", "blocks"), EXAMPLES, ids=[title for title, _ in EXAMPLES]
)
def test_an_example(
    title: str,
    blocks: list[str],
    here: Callable[[str], str],
    flying: Service,
    near: redis_servers.Server,
) -> None:
    def is_written() -> bool:
        """No other test requests this row: L1 alone cannot have it."""
        with gomlx.Client(
            "flights", flying.url, redis=near.url, options=PATIENT
        ) as client:
            return client.predict(ROW | {"distance": 180}).tier == "redis"

    names: dict[str, Any] = {
        "PATIENT": PATIENT,
        "wait_until_written": lambda: wait_for(is_written),
    }
    exec(here("\n".join([SHARED, *blocks])), names)
