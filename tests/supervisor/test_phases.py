"""What the log says of a staging that takes long."""

import asyncio
import logging

import pytest

from gomlx.supervisor.phases import Phases


@pytest.mark.asyncio
async def test_a_long_staging_says_what_it_does(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO), Phases("m", every_seconds=0.01) as phases:
        phases.begin("rows are tried")
        while len(caplog.records) < 2:
            await asyncio.sleep(0.01)
    assert caplog.messages[1] == "model m: staging for 0 s: rows are tried"
    assert phases.where == ", at last: rows are tried"


@pytest.mark.asyncio
async def test_nothing_is_said_once_it_has_ended(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO), Phases("m", every_seconds=0.0):
        while not caplog.records:
            await asyncio.sleep(0.001)
    count = len(caplog.records)
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(caplog.records) == count
