"""Clients, answers and errors as objects: shown, pickled, refused."""

import math
import pickle
import subprocess
import sys
from typing import Any

import pytest

import gomlx
from gomlx import AsyncClient, Client, InvalidInput, Options
from tests.client.fake import QUIET, VERSION, doubling


def test_clients_and_answers_can_be_pickled() -> None:
    options = Options(timeout_seconds=7)
    client = Client("m", ["http://u:secret@a:1/", "b"], options=options)
    copy = pickle.loads(pickle.dumps(client))
    assert repr(copy) == repr(client) == "<Client of 'm' at http://***@a:1, http://b>"
    assert copy.options == options
    with Client("m", "http://f", transport=doubling(), options=QUIET) as known:
        answer = known.predict(word="a", x=1)
        assert VERSION in repr(known)
    again = pickle.loads(pickle.dumps(answer))
    assert (again, again.tier, again.version) == (answer, "model", VERSION)


@pytest.mark.parametrize(
    "error",
    [
        InvalidInput("no", "x", 3),
        gomlx.ModelNotFound("m", ["a"]),
        gomlx.Overloaded.from_message("later", 9),
        gomlx.NotReady("m", "loading"),
        gomlx.ConfigInvalid("config.yaml", ["one", "two"]),
        gomlx.ConnectionFailed("closed"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_can_be_pickled(error: gomlx.GomlxError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (str(again), vars(again)) == (str(error), vars(error))
    assert again.retry_after == error.retry_after


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("timeout_seconds", -1),
        ("timeout_seconds", "1"),
        ("ttl_seconds", math.nan),
        ("max_entries", 0),
        ("max_bytes", 1.5),
        ("hedge", 1),
        ("ca_file", 7),
    ],
)
def test_invalid_options(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        Options(**{name: value})


def test_an_infinite_timeout_and_one_that_is_over() -> None:
    with Client("m", "http://f", transport=doubling(), options=QUIET) as client:
        assert client.predict(word="a", x=1, timeout_seconds=math.inf) == {"y": 2}
        for seconds in (0, -1):
            with pytest.raises(gomlx.DeadlineExceeded):
                client.predict(word="b", x=1, timeout_seconds=seconds)


def test_missing_extras() -> None:
    """The error names what to install."""
    program = """
import sys
from gomlx import Client, FakeTransport, Options

sys.modules.update(dict.fromkeys(("redis", "ngh2", "httpcore", "rich.console")))

def fake():
    return FakeTransport(lambda row: {}, {"x": "float32"})

for extra, call in {
    "redis": Client("m", "http://f", redis="redis://a", transport=fake()).start,
    "http2": Client("m", "http://f", options=Options(http2=True)).start,
    "progress": lambda: Client("m", "http://f").stream([], progress=True),
}.items():
    try:
        call()
    except ImportError as error:
        assert f"pip install 'gomlx[{extra}]'" in str(error), error
    else:
        raise AssertionError(extra)
"""
    subprocess.run(
        [sys.executable, "-W", "error", "-c", program], check=True, timeout=60
    )


@pytest.mark.parametrize(
    "host",
    [
        "",
        " ",
        "http://",
        "ftp://a",
        "a b",
        "::1",
        "http://a:x",
        "a:0",
        "http://a,http://b",
        "http://a:99999",
        "http://a?b=1",
        "http://a#b",
    ],
)
def test_invalid_hosts(host: str) -> None:
    for urls in (host, ["http://a:8080", host]):
        with pytest.raises(ValueError, match="like http://a:8080, got"):
            AsyncClient("m", urls)
    with pytest.raises(ValueError, match="at least one host"):
        Client("m", [])
