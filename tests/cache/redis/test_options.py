"""The ways to say how a Redis is connected to."""

from pathlib import Path

import pytest

from gomlx.cache.redis.options import RedisOptions
from gomlx.cache.redis.tier import RedisTier
from gomlx.config.schema import Connection
from gomlx.errors import ConfigInvalid, TierFailed
from tests.support.redis_servers import server


@pytest.mark.asyncio
async def test_a_connection_of_the_config_is_opened(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("swordfish\n")
    lock = "requirepass swordfish"
    with server(tmp_path / "redis", lock, login=["swordfish"]) as redis:
        connection = Connection(
            id="near", url=redis.url, password_file=str(tmp_path / "password")
        )
        tier = RedisTier.from_config(connection)
        await tier.set_many({b"a": (b"1", 60_000)})
        assert await tier.get_many([b"a"]) == [b"1"]
        await tier.close()


def test_a_password_file_that_is_not_there_is_reported(tmp_path: Path) -> None:
    connection = Connection(
        id="near", url="redis://host", password_file=str(tmp_path / "none")
    )
    with pytest.raises(ConfigInvalid, match="password_file"):
        RedisTier.from_config(connection)


def test_another_url_is_refused() -> None:
    with pytest.raises(TierFailed) as caught:
        RedisTier(RedisOptions("http://:hunter2@host"))
    assert caught.value.fault == "url"
    assert "hunter2" not in str(caught.value)


def test_options_do_not_show_passwords() -> None:
    options = RedisOptions("redis://:hunter2@host", password="swordfish")
    assert "hunter2" not in repr(options)
    assert "swordfish" not in repr(options)
