"""Requests as HTTP allows them: raw bytes to a whole service, on both protocols."""

from collections.abc import Iterator

import pytest

from tests.support import saved_models
from tests.support.service import Service, running


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("requests")
    broken = folder / "broken"
    broken.mkdir()
    (broken / "saved_model.pb").write_bytes(b"not a graph")
    url = str(saved_models.scale(folder / "scale", 2.0))
    config = {
        "models": [
            {"id": "m", "url": url},
            {"id": "my.model", "url": url},
            {"id": "broken", "url": str(broken)},
            {"id": "absent", "url": str(folder / "nothing-here")},
        ],
    }
    with running(folder, config) as one:
        yield one


@pytest.mark.parametrize(("model", "may_pass"), [("broken", False), ("absent", True)])
def test_only_a_failure_that_may_pass_says_when_to_retry(
    service: Service, model: str, may_pass: bool
) -> None:
    response = service.post(model, {"x": 1})
    assert response.status_code == 503
    assert ("retry-after" in response.headers) == may_pass
