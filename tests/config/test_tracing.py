"""Where traces go: what the config may say, and what people see of it."""

from pathlib import Path

import pytest

from gomlx.config.load import masked_config
from tests.config.conftest import MINIMAL, loaded, problems


def test_what_is_not_given_is_left_to_the_environment(path: Path) -> None:
    tracing = loaded(path, MINIMAL + "tracing: {}\n").tracing
    assert tracing
    assert tracing.endpoint is None
    assert tracing.sample_ratio is None
    assert loaded(path, MINIMAL).tracing is None


@pytest.mark.parametrize("endpoint", ["localhost:4318", "grpc://x:4317", "http://"])
def test_an_endpoint_that_no_collector_has(path: Path, endpoint: str) -> None:
    (found,) = problems(path, MINIMAL + f"tracing: {{endpoint: '{endpoint}'}}\n")
    assert "tracing.endpoint: expected the URL of a collector" in found
    assert "http://localhost:4318" in found


@pytest.mark.parametrize("ratio", ["1.5", "-0.1", "much"])
def test_a_ratio_that_is_none(path: Path, ratio: str) -> None:
    (found,) = problems(path, MINIMAL + f"tracing: {{sample_ratio: {ratio}}}\n")
    assert "tracing.sample_ratio" in found


def test_a_password_of_a_collector_is_masked(path: Path) -> None:
    text = MINIMAL + "tracing: {endpoint: 'https://me:secret@collector:4318'}\n"
    assert "secret" not in str(masked_config(loaded(path, text)))
