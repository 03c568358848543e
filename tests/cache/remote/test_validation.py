"""Values of a shared tier that are no answers."""

import asyncio

import pytest

from gomlx.cache.remote.commands import Commands
from gomlx.cache.remote.health import TierHealth
from gomlx.cache.remote.validation import Validator
from tests.cache.remote.fake import FakeTier
from tests.cache.remote.remotes import is_digits, limits

pytestmark = pytest.mark.asyncio


@pytest.fixture
def tier() -> FakeTier:
    return FakeTier()


def validator(tier: FakeTier, read_only: bool = False) -> Validator:
    commands = Commands("near", tier, 30.0, TierHealth("near: look-ups"))
    return Validator(commands, limits(read_only=read_only))


async def test_hits_are_sorted_from_other_values(tier: FakeTier) -> None:
    names = dict.fromkeys([b"a", b"b", b"c", b"d"], is_digits)
    values = [b"1", None, b"x", b"1" * 1001]
    found, bad = validator(tier).sort(names, values)
    assert found == {b"a": b"1"}
    assert bad == [b"c", b"d"]


async def test_each_name_has_its_own_test_of_answers(tier: FakeTier) -> None:
    names = {b"a": is_digits, b"b": bytes.isalpha}
    found, bad = validator(tier).sort(names, [b"x", b"x"])
    assert (found, bad) == ({b"b": b"x"}, [b"a"])


@pytest.mark.parametrize("read_only", [False, True])
async def test_rejected_values_are_deleted_where_that_is_allowed(
    tier: FakeTier, read_only: bool
) -> None:
    tier.values = {b"a": b"poison", b"b": b"1"}
    validator(tier, read_only).reject([b"a"])
    for _ in range(3):
        await asyncio.sleep(0)
    assert tier.values.keys() == ({b"a", b"b"} if read_only else {b"b"})
