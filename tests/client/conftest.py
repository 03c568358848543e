"""What tests of several hosts, and of each transport, share."""

import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio


def _choose(transport: str, patch: pytest.MonkeyPatch) -> None:
    if transport == "httpcore":  # as where ngh2 is not installed
        patch.setitem(sys.modules, "gomlx.client.transports.http2", None)


@pytest.fixture(params=["http1", "ngh2", "httpcore"])
def http2(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether a client uses HTTP/2; each of its transports in turn."""
    _choose(request.param, monkeypatch)
    return bool(request.param != "http1")


@pytest.fixture(params=["ngh2", "httpcore"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The library of HTTP/2, each in turn."""
    _choose(request.param, monkeypatch)
    return str(request.param)


@pytest_asyncio.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as opened:
        yield opened
