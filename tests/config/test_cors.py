"""What the config may say of pages of other sites."""

from pathlib import Path

import pytest

from tests.config.conftest import MINIMAL, loaded, problems


def text(options: str) -> str:
    return MINIMAL + f"endpoint:\n  cors: {{{options}}}\n"


@pytest.mark.parametrize(
    "origin", ["*", "https://shop.example", "http://[::1]:8", "app://x"]
)
def test_origins(path: Path, origin: str) -> None:
    config = loaded(path, text(f"origins: ['{origin}']"))
    assert config.endpoint.cors
    assert config.endpoint.cors.origins == (origin,)


@pytest.mark.parametrize(
    "origin",
    [
        "shop.example",
        "https://shop.example/",
        "https://a.example, https://b.example",
        "null",
        "https://",
        "*.example",
        "",
    ],
)
def test_what_is_no_origin(path: Path, origin: str) -> None:
    (found,) = problems(path, text(f"origins: ['{origin}']"))
    assert "endpoint.cors.origins[0]" in found


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ("origins: []", "endpoint.cors.origins"),
        ("headers: [a]", "endpoint.cors"),
        ('origins: ["*"], headers: ["a b"]', "endpoint.cors.headers[0]"),
        ('origins: ["*"], headers: ["a\\r\\nb"]', "endpoint.cors.headers[0]"),
        ('origins: ["*"], max_age_seconds: -1', "endpoint.cors.max_age_seconds"),
    ],
)
def test_wrong_options(path: Path, options: str, where: str) -> None:
    (found,) = problems(path, text(options))
    assert where in found
