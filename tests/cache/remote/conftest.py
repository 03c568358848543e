"""A way to the Redis server that can hold replies back."""

from collections.abc import Iterator

import pytest

from tests.support.redis_servers import Server
from tests.support.relay import Relay


@pytest.fixture
def relay(redis: Server) -> Iterator[Relay]:
    with Relay(redis.port) as started:
        yield started
