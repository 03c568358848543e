"""Any file is a config that workers can read, or refused; defaults and paths."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gomlx.config.load import load_config, masked_config
from gomlx.config.schema import Config
from gomlx.errors import ConfigInvalid
from tests.config.conftest import MINIMAL, NEAR, loaded, write


def test_a_config_names_models_and_the_rest_has_defaults(path: Path) -> None:
    config = loaded(path, MINIMAL)
    assert [model.id for model in config.models] == ["ml0"]
    assert (config.endpoint.host, config.endpoint.port) == ("127.0.0.1", 8080)
    assert config.workers >= 1
    assert config.datastore_of(config.models[0]) is None


def test_a_model_finds_its_datastore(path: Path) -> None:
    config = loaded(
        path,
        "models: [{id: a, url: x, datastore: s}]\n"
        "datastores: [{id: r}, {id: s, memory_mb: 8}]\n",
    )
    store = config.datastore_of(config.models[0])
    assert store is not None
    assert (store.id, store.memory_mb) == ("s", 8)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("./ml0", "{}/ml0"),
        ("models/ml0", "{}/models/ml0"),
        ("/srv/ml0", "/srv/ml0"),
        ("s3://bucket/ml0", "s3://bucket/ml0"),
        ("https://host/ml0?x=1", "https://host/ml0?x=1"),
    ],
)
@pytest.mark.parametrize("is_absolute", [True, False])
def test_a_local_url_is_relative_to_the_config(
    path: Path,
    url: str,
    expected: str,
    is_absolute: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path.write_text(f"run_dir: run\nmodels: [{{id: a, url: '{url}'}}]\n")
    monkeypatch.chdir(path.parent)
    config = load_config(path if is_absolute else Path(path.name))
    assert config.models[0].url == expected.format(path.parent)
    assert config.run_dir == str(path.parent / "run")


def test_files_are_relative_to_the_config(tmp_path: Path) -> None:
    (tmp_path / "word").write_text(" secret\n")
    files = {"password_file": "word", "ca_file": "ca", "cert_file": "/c"}
    secured = {"id": "near", "url": "rediss://h"} | files
    (connection,) = load_config(write(tmp_path, connections=[secured])).connections
    assert connection.read_password() == "secret"
    assert (connection.ca_file, connection.cert_file) == (str(tmp_path / "ca"), "/c")


def test_a_missing_password_file_is_named(tmp_path: Path) -> None:
    lost = NEAR | {"password_file": "lost"}
    (connection,) = load_config(write(tmp_path, connections=[lost])).connections
    with pytest.raises(ConfigInvalid, match=r"connection 'near': password_file.*lost"):
        connection.read_password()


@pytest.mark.parametrize(
    "text",
    [
        MINIMAL + "endpoint: {keepalive_seconds: .inf}\n",
        'models: [{id: a, url: "\\ud800"}]\n',
        "models: [{id: a, url: x, example: {y: {null: 1}}}]\n",
        "models: [{id: a, url: x, example: {y: [.nan, 2024-01-01, !!set {a, b}]}}]\n",
    ],
)
def test_an_accepted_config_survives_the_way_to_the_workers(
    path: Path, text: str
) -> None:
    try:
        config = loaded(path, text)
    except ConfigInvalid:
        return
    msgspec.json.decode(msgspec.json.encode(config), type=Config)


KEYS = st.sampled_from(
    "models datastores endpoint watch batch id url datastore port trusted_proxies "
    "example run_dir ttl_seconds prot".split()
)
ATOMS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=3)
    | st.dates()
    | st.sampled_from(["a", "s3://k:p@b/c?d=e", "::1"])
)
ODD_KEYS = KEYS | ATOMS | st.tuples(ATOMS)
YAMLABLE = st.recursive(
    ATOMS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(ODD_KEYS, inner, max_size=4)
    ),
    max_leaves=10,
)
MODELS = st.fixed_dictionaries(
    {"id": st.sampled_from("abc"), "url": st.sampled_from("xyz")},
    optional={
        "datastore": st.sampled_from("st"),
        "example": YAMLABLE,
        "batch": YAMLABLE,
    },
)
STORES = st.fixed_dictionaries({"id": st.sampled_from("st")}, optional={"prot": ATOMS})
CONFIGS = st.fixed_dictionaries(
    {"models": st.lists(MODELS, min_size=1, max_size=2) | YAMLABLE},
    optional={
        "datastores": st.lists(STORES, max_size=2) | YAMLABLE,
        "endpoint": st.dictionaries(KEYS, ATOMS, max_size=2),
        "run_dir": st.text(max_size=5) | ATOMS,
    },
)


@given(CONFIGS | YAMLABLE)
@example({"models": [{"id": "a", "url": "x", "example": {"y": [1, {"b64": "YQ=="}]}}]})
@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
def test_any_data_is_a_config_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: Any
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    try:
        config = loaded(path, yaml.safe_dump(data, allow_unicode=True))
    except ConfigInvalid as error:
        assert error.problems
        return
    assert masked_config(config)["models"]
