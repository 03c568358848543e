"""Redis URLs: the documented forms, and their parts."""

import pytest

from gomlx.cache.redis.address import FORMS, parse


@pytest.mark.parametrize("form", FORMS.values())
def test_the_documented_forms_are_accepted(form: str) -> None:
    address = parse(form)
    assert (address.kind == "unix") == (not address.hosts)
    assert address.tls == form.startswith("rediss")


def test_a_url_is_parsed() -> None:
    address = parse(
        "rediss+sentinel://u%40:p%2Fw@[::1],b:9/main/3"
        "?sentinel_username=su&sentinel_password=sp%26"
    )
    assert (address.kind, address.tls) == ("sentinel", True)
    assert address.hosts == (("::1", 26379), ("b", 9))
    assert (address.master, address.database) == ("main", 3)
    assert (address.username, address.password) == ("u@", "p/w")
    assert (address.sentinel_username, address.sentinel_password) == ("su", "sp&")
    assert "p/w" not in repr(address)
    assert "sp&" not in repr(address)
