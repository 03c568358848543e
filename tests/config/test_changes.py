"""What of a changed config can be had without a restart."""

from pathlib import Path
from typing import Any

import pytest

from gomlx.config.changes import change_of
from gomlx.config.load import config_of
from gomlx.config.schema import LoadedConfig

MODEL = {"id": "m", "url": "m"}


def config(**options: Any) -> LoadedConfig:
    return config_of({"models": [MODEL], **options}, Path("/"))


def test_models_and_limits_can_be_had() -> None:
    new = config(
        models=[MODEL | {"run_seconds": 5}, {"id": "n", "url": "n"}],
        endpoint={"request_seconds": 3, "max_body_bytes": 2048},
        log_level="debug",
    )
    change = change_of(config(), new)
    assert change.left == ()
    assert change.config == new


def test_what_needs_a_restart_is_left() -> None:
    old = config(endpoint={"port": 1, "request_seconds": 3})
    new = config(
        endpoint={"port": 2, "workers": 7, "request_seconds": 4},
        watch={"poll_seconds": 1},
        datastores=[{"id": "a"}],
    )
    change = change_of(old, new)
    assert sorted(change.left) == [
        "datastores needs a restart",
        "endpoint.port needs a restart",
        "endpoint.workers needs a restart",
        "watch needs a restart",
    ]
    assert change.config == config(endpoint={"port": 1, "request_seconds": 4})


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ({"datastore": "a"}, "datastore 'a' is new"),
        ({"isolate": {}}, "it is the first with isolate"),
        ({"log": {"fields": []}}, "its log is another one"),
        (
            {"transformer": "a:b"},
            "it is the first with a transformer, and workers are confined",
        ),
    ],
)
def test_a_model_that_needs_a_restart_is_left(
    option: dict[str, Any], reason: str
) -> None:
    """One that is known keeps its config, and a new one does not come."""
    old = config()
    datastores = [{"id": "a"}] if "datastore" in option else []
    changed = [MODEL | option, {"id": "n", "url": "n", **option}]
    new = config(models=changed, datastores=datastores)
    change = change_of(old, new)
    assert change.config.models == old.models
    for name in ("m", "n"):
        assert f"model {name!r} needs a restart: {reason}" in change.left


def test_a_model_may_leave() -> None:
    old = config(models=[MODEL, {"id": "n", "url": "n"}])
    assert change_of(old, config()).config == config()
