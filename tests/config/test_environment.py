"""Variables in a config file, and options from the environment."""

from pathlib import Path

import pytest

from gomlx.config.load import load_config
from gomlx.config.models import config_of_models
from gomlx.errors import ConfigInvalid
from tests.config.conftest import MINIMAL, problems

CONNECTION = "connections:\n- {id: r, url: redis://h, password: %s}\n"


@pytest.mark.parametrize(
    ("text", "port"),
    [
        ("${PORT}", 81),
        ("8${DIGIT}", 81),
        ("${NONE:-82}", 82),
        ("${EMPTY:-83}", 83),
        ("${PORT:-82}", 81),
    ],
)
def test_variables_are_read_as_the_file_is(
    path: Path, monkeypatch: pytest.MonkeyPatch, text: str, port: int
) -> None:
    for name, value in {"PORT": "81", "DIGIT": "1", "EMPTY": ""}.items():
        monkeypatch.setenv(name, value)
    path.write_text(f"{MINIMAL}endpoint:\n  port: {text}\n")
    assert load_config(path).endpoint.port == port


@pytest.mark.parametrize("secret", ["12345", "a: b", "[x", "yes", "${OTHER}", "# c"])
def test_a_quoted_variable_is_a_text(
    path: Path, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    """Whatever is in it: it is not read as YAML, nor for other variables."""
    monkeypatch.setenv("SECRET", secret)
    path.write_text(MINIMAL + CONNECTION % '"${SECRET}"')
    assert load_config(path).connections[0].password == secret


def test_what_looks_like_a_variable_can_be_written(path: Path) -> None:
    path.write_text(MINIMAL + CONNECTION % '"$${A}$B$"')
    assert load_config(path).connections[0].password == "${A}$B$"


def test_a_variable_that_is_not_set(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMPTY", "")
    text = MINIMAL + "run_dir: ${NOWHERE}/${EMPTY}\nendpoint: {prot: 1}\n"
    found = problems(path, text)
    assert "line 2: run_dir: the variable NOWHERE is not set; ${NOWHERE:-…}" in found[0]
    assert "the variable EMPTY is empty" in found[1]
    assert "did you mean 'port'" in found[2]


def test_an_aliased_value_is_expanded_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A", "${B}")
    path.write_text(
        "models:\n- {id: a, url: &u '/m/${A}'}\n- {id: b, url: *u}\n",
    )
    assert [model.url for model in load_config(path).models] == ["/m/${B}"] * 2


def test_options_of_the_environment(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {
        "GOMLX_ENDPOINT__PORT": "0",
        "GOMLX_ENDPOINT__HOST": "::1",
        "GOMLX_ENDPOINT__TLS__CERTIFICATE": "c.pem",
        "GOMLX_LOG_LEVEL": "debug",
        "GOMLX_SANDBOX": "false",
        "GOMLX_DATASTORES": "[{id: s, memory_mb: 5}]",
        "GOMLX_HOST": "http://other:1",  # of the clients among the commands
    }
    for name, value in options.items():
        monkeypatch.setenv(name, value)
    path.write_text(MINIMAL + "endpoint: {port: 1, workers: 3}\nlog_level: info\n")
    config = load_config(path)
    endpoint = config.endpoint
    assert (endpoint.port, endpoint.workers, endpoint.host) == (0, 3, "::1")
    assert endpoint.tls
    assert endpoint.tls.certificate == str(path.parent / "c.pem")
    assert (config.log_level, config.sandbox) == ("debug", False)
    assert config.datastores[0].memory_mb == 5


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("GOMLX_ENDPOINT__PROT", "1", "did you mean 'GOMLX_ENDPOINT__PORT'?"),
        ("GOMLX_PORT", "1", "no option has this name"),
        ("GOMLX_LOG_LEVEL__X", "1", "no option has this name"),
        ("GOMLX_ENDPOINT__PORT", "many", "GOMLX_ENDPOINT__PORT: endpoint.port: expect"),
        ("GOMLX_ENDPOINT__PORT", "[", "GOMLX_ENDPOINT__PORT: endpoint.port: expect"),
        ("GOMLX_MODELS", "[]", "GOMLX_MODELS: models: expected"),
        ("GOMLX_MODELS", "[{id: a, uri: x}]", "did you mean 'url'?"),
    ],
)
def test_what_is_wrong_in_the_environment(
    path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, problem: str
) -> None:
    monkeypatch.setenv(name, value)
    assert any(problem in one for one in problems(path, MINIMAL))


def test_a_password_of_the_environment_is_not_shown(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOMLX_CONNECTIONS", "[{id: r, url: 1, password: [s3cret]}]")
    assert not any("s3cret" in one for one in problems(path, MINIMAL))


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("./ranking", "ranking"),
        ("/models/ranking/", "ranking"),
        ("/models/ranking/17", "ranking"),
        ("gs://bucket/a b/3/", "a_b"),
        ("model.keras", "model.keras"),
    ],
)
def test_models_without_a_config(url: str, name: str) -> None:
    config = config_of_models([url], None, 7)
    (model,) = config.models
    assert (model.id, model.datastore) == (name, "answers")
    assert config.datastores[0].memory_mb == 7
    assert config.endpoint.port == 8080


def test_models_without_a_name_or_with_the_same() -> None:
    for urls in (["/"], ["a/m", "b/m"]):
        with pytest.raises(ConfigInvalid):
            config_of_models(urls, 0, 0)
