"""What tests of several hosts share."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest_asyncio


@pytest_asyncio.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as opened:
        yield opened
