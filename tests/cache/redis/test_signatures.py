"""Signed values: what a liar who can write to Redis can do; how keys are rotated."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from gomlx.cache.redis.options import RedisOptions
from gomlx.cache.redis.signatures import FORGED, Signer
from gomlx.cache.redis.tier import RedisTier
from gomlx.errors import ConfigInvalid
from tests.cache.databases import until
from tests.support.redis_servers import Server

relaxed = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
ANSWER = b'{"late":0.5}'
LIE = b'{"late":0.9}'
NAMES = [b"gomlx:1:signed:%032x:%032x" % (1, n) for n in range(2)]
OLD = "0a" * 32
NEW = "0b" * 32
WriteKeys = Callable[..., str]


@pytest.fixture
def write_keys(tmp_path: Path) -> WriteKeys:
    def write(*lines: str, mode: int = 0o600, name: str = "keys") -> str:
        path = tmp_path / name
        path.write_text("\n".join([*lines, ""]))
        path.chmod(mode)
        return str(path)

    return write


def is_believed(signer: Signer, name: bytes, value: bytes) -> bool:
    (found,) = signer.verified([name], [value])
    return found != FORGED


@given(
    st.binary(min_size=1, max_size=40), st.binary(max_size=80), st.integers(0, 1 << 16)
)
@relaxed
def test_only_the_signed_bytes_are_believed(
    write_keys: WriteKeys, name: bytes, answer: bytes, place: int
) -> None:
    signer = Signer(write_keys(OLD))
    value = signer.signed(name, answer)
    assert signer.verified([name, name], [value, None]) == [answer or FORGED, None]
    bit = place % (8 * len(value))
    changed = bytearray(value)
    changed[bit // 8] ^= 1 << bit % 8
    cut = place % len(value)
    for other in (
        *(bytes(changed), value[:cut], value[:cut] + value[cut + 1 :]),
        *(value[cut:] if cut else b"", value + b" ", value + value, b"\n" + value),
    ):
        assert not is_believed(signer, name, other)


@given(
    *[st.binary(min_size=1, max_size=8)] * 2, *[st.binary(min_size=1, max_size=8)] * 2
)
@relaxed
def test_a_value_is_believed_under_its_name_only(
    write_keys: WriteKeys, name: bytes, other: bytes, answer: bytes, another: bytes
) -> None:
    """Also when the bytes of name and answer are the same, one after the other."""
    signer = Signer(write_keys(OLD))
    assume(name != other)
    assert not is_believed(signer, other, signer.signed(name, answer))
    suffix = signer.signed(name, answer)[len(answer) :]
    assert not is_believed(signer, name[:-1], name[-1:] + answer + suffix)
    if another != answer:
        assert not is_believed(signer, name, another + suffix)


def test_signatures_do_not_change(write_keys: WriteKeys) -> None:
    """Another format would make every value of other hosts a miss."""
    assert Signer(write_keys(OLD)).signed(b"gomlx:1:m:v:k", ANSWER) == (
        ANSWER + b"\n1dbf1989f1811f4789538c9cc7a346d4"
    )


@pytest.mark.asyncio
async def test_a_liar_without_the_key_is_refused(
    plain: Server, write_keys: WriteKeys, caplog: pytest.LogCaptureFixture
) -> None:
    tier = RedisTier(
        RedisOptions(plain.url, timeout_seconds=30, sign_key_file=write_keys(OLD))
    )
    liar = RedisTier(RedisOptions(plain.url, timeout_seconds=30))
    other = RedisTier(
        RedisOptions(
            plain.url, timeout_seconds=30, sign_key_file=write_keys(NEW, name="other")
        )
    )
    one, two = NAMES
    await tier.set_many({one: (ANSWER, 60_000), two: (LIE, 60_000)})
    assert await tier.get_many([one, two]) == [ANSWER, LIE]
    stored, another = [value or b"" for value in await liar.get_many([one, two])]
    assert stored.startswith(ANSWER + b"\n")

    lies = [LIE, LIE + stored[len(ANSWER) :], another, b""]
    for lie in lies:
        await liar.set_many({one: (lie, 60_000)})
        assert await tier.get_many([one, two]) == [FORGED, LIE]
    await other.set_many({one: (LIE, 60_000)})
    assert await tier.get_many([one]) == [FORGED]
    warnings = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert len([r for r in warnings if "without a valid signature" in r.message]) == 1

    await liar.set_many({one: (stored, 60_000)})
    assert await tier.get_many([one]) == [ANSWER]
    for opened in (tier, liar, other):
        await opened.close()


@pytest.mark.asyncio
async def test_keys_are_rotated_without_a_restart(
    write_keys: WriteKeys, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]
    caplog.set_level(logging.INFO)
    signer = Signer(write_keys("# of 2026", OLD), lambda: now[0])
    first = signer.signed(b"n", ANSWER)

    async def until_logged(text: str) -> None:
        def is_logged() -> bool:
            now[0] += 2
            signer.look()
            return text in caplog.text

        await until(is_logged)

    write_keys(OLD, "", NEW)  # a host verifies a key before any signs with it
    await until_logged("2 keys are in use now")
    assert signer.signed(b"n", ANSWER) == first
    write_keys(NEW, OLD)
    caplog.clear()
    await until_logged("2 keys are in use now")
    second = signer.signed(b"n", ANSWER)
    assert second != first
    assert is_believed(signer, b"n", first)
    assert is_believed(signer, b"n", second)

    for lines, mode, problem in (
        ((), 0o600, "expected a key a line"),
        (("0b" * 31,), 0o600, "line 1: expected a key"),
        ((NEW,), 0o644, "mode is 0644"),
    ):
        write_keys(*lines, mode=mode)
        await until_logged(problem)
        assert signer.signed(b"n", ANSWER) == second
    os.unlink(write_keys())
    await until_logged("No such file")
    assert signer.signed(b"n", ANSWER) == second

    write_keys(NEW)
    await until_logged("1 keys are in use now")
    assert not is_believed(signer, b"n", first)


@pytest.mark.parametrize(
    ("lines", "mode", "problem"),
    [
        ((OLD,), 0o604, "its mode is 0604: expected 0600"),
        ((OLD,), 0o620, "its mode is 0620"),
        ((OLD,), 0o602, "its mode is 0602"),
        ((), 0o600, "openssl rand -hex 32"),
        (("# nothing",), 0o600, "expected a key a line"),
        ((OLD, "swordfish"), 0o600, "line 2: expected a key a line"),
        ((OLD + "0",), 0o600, "line 1"),
        (("0a" * 65,), 0o600, "line 1"),
    ],
)
def test_a_file_that_is_not_of_keys_or_that_others_may_read_is_refused(
    write_keys: WriteKeys, lines: list[str], mode: int, problem: str
) -> None:
    path = write_keys(*lines, mode=mode)
    with pytest.raises(ConfigInvalid, match=problem) as caught:
        RedisTier(RedisOptions("redis://host", sign_key_file=path))
    assert path in str(caught.value)
    assert OLD not in str(caught.value)
    assert "swordfish" not in str(caught.value)


def test_a_file_is_refused_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="No such file"):
        Signer(str(tmp_path / "none"))
    with pytest.raises(ConfigInvalid, match="s a directory"):
        Signer(str(tmp_path))
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(ConfigInvalid, match="expected a file"):
        Signer(str(tmp_path / "pipe"))
    (tmp_path / "bytes").write_bytes(b"\xff" * 64)
    (tmp_path / "bytes").chmod(0o600)
    with pytest.raises(ConfigInvalid, match="decode"):
        Signer(str(tmp_path / "bytes"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused(write_keys: WriteKeys) -> None:
    path = write_keys(OLD)
    os.chown(path, 12345, 0)
    with pytest.raises(ConfigInvalid, match="belong to the service's user or to root"):
        Signer(path)
