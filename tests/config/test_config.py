"""Config files: read whole, or refused with all that is wrong."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gomlx.config.schema import Config, load, masked_config
from gomlx.errors import ConfigInvalid

LEAST = "models: [{id: ml0, url: ./ml0}]\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config.yaml"


def loaded(path: Path, text: str) -> Config:
    path.write_text(text)
    return load(path)


def problems(path: Path, text: str) -> list[str]:
    with pytest.raises(ConfigInvalid) as caught:
        loaded(path, text)
    return caught.value.problems


def test_a_config_names_models_and_the_rest_has_defaults(path: Path) -> None:
    config = loaded(path, LEAST)
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


def test_everything_wrong_is_said_at_once_where_it_stands(path: Path) -> None:
    found = problems(
        path,
        "endpoint:\n"
        "  prot: 80\n"
        "  port: 70000\n"
        "log_level: loud\n"
        "models:\n"
        "  - id: a\n"
        "    url: 7\n"
        "    batch: {max_rows: 0}\n"
        "  - url: x\n"
        "modls: []\n",
    )
    starts = {
        "line 2: endpoint.prot: unknown key; did you mean 'port'?",
        "line 3: endpoint.port: expected `int` <= 65535, got 70000",
        "line 4: log_level: ",
        "line 7: models[0].url: expected `str`, got `int`, got 7",
        "line 8: models[0].batch.max_rows: expected `int` >= 1, got 0",
        "line 9: models[1].id: missing",
        "line 10: modls: unknown key; did you mean 'models'?",
    }
    assert len(found) == len(starts)
    for start in starts:
        assert any(problem.startswith(start) for problem in found), start


def test_the_message_has_a_line_a_problem_with_the_file(path: Path) -> None:
    path.write_text("modls: []\n")
    with pytest.raises(ConfigInvalid) as caught:
        load(path)
    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"{path}: ") for line in lines)


def test_a_key_like_no_other_is_answered_with_those_that_exist(path: Path) -> None:
    (found,) = problems(path, LEAST + "watch: {zzz: 1}\n")
    assert "watch.zzz: unknown key; known are: poll_seconds, settle_seconds" in found


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("endpoint.port", 65535),
        ("endpoint.port", 0),
        ("endpoint.workers", 1),
        ("endpoint.max_body_bytes", 1024),
        ("endpoint.max_requests", 0),
        ("watch.settle_seconds", 0),
        ("watch.poll_seconds", 0.001),
        ("datastores[0].ttl_seconds", 315360000),
        ("datastores[0].memory_mb", 1),
        ("models[0].batch.linger_ms", 1000),
    ],
)
def test_a_value_at_its_bound_is_taken(path: Path, where: str, value: Any) -> None:
    loaded(path, yaml.safe_dump(_with(where, value)))


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("endpoint.port", 65536),
        ("endpoint.port", -1),
        ("endpoint.port", "80"),
        ("endpoint.port", 80.5),
        ("endpoint.port", True),
        ("endpoint.workers", 0),
        ("endpoint.max_body_bytes", 1023),
        ("endpoint.trusted_proxies", "127.0.0.1"),
        ("endpoint.trusted_proxies", [1]),
        ("endpoint.host", None),
        ("watch.settle_seconds", -0.1),
        ("watch.poll_seconds", 0),
        ("watch.poll_seconds", float("nan")),
        ("watch.poll_seconds", float("inf")),
        ("datastores[0].ttl_seconds", 315360001),
        ("datastores[0].ttl_seconds", 0),
        ("datastores[0].memory_mb", -1),
        ("datastores[0].queue_mb", 0),
        ("datastores[0].tiers[0].deadline_ms", 0),
        ("datastores[0].tiers[0].ttl_seconds", 0.5),
        ("datastores[0].tiers[0].max_value_bytes", 0),
        ("connections[0].timeout_seconds", 0),
        ("connections[0].max_connections", 0),
        ("connections[0].id", "a b"),
        ("models[0].coalesce", "world"),
        ("models[0].lease_ms", 0),
        ("models[0].batch.linger_ms", 1000.5),
        ("models[0].batch", None),
        ("models[0].id", ""),
        ("models[0].id", "a/b"),
        ("models[0].id", "../a"),
        ("models[0].id", "a" * 129),
        ("models[0].example", [1]),
        ("models[0].example", {1: 2}),
        ("run_dir", 5),
    ],
)
def test_a_value_past_its_bound_is_refused(path: Path, where: str, value: Any) -> None:
    (found,) = problems(path, yaml.safe_dump(_with(where, value)))
    assert f" {where}: expected " in f" {found}"


def _with(where: str, value: Any) -> dict[str, Any]:
    """A good config but for one value."""
    document: dict[str, Any] = {
        "models": [{"id": "a", "url": "x"}],
        "datastores": [{"id": "s", "tiers": [{"connection": "c"}]}],
        "connections": [{"id": "c", "url": "redis://h"}],
    }
    *sections, name = where.replace("[0]", ".0").split(".")
    inner: Any = document
    for section in sections:
        inner = inner[0] if section == "0" else inner.setdefault(section, {})
    inner[name] = value
    return document


@pytest.mark.parametrize("text", ["models: []", "models:", "models: 3", "models: {}"])
def test_a_config_without_models_is_refused(path: Path, text: str) -> None:
    (found,) = problems(path, text)
    assert found.startswith("line 1: models: expected ")


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("models: [{id: a, url: x}, {id: b, url: x}, {id: a, url: y}]\n", "models[2]"),
        (LEAST + "datastores: [{id: b}, {id: a}, {id: b}]\n", "datastores[2]"),
    ],
)
def test_an_id_given_twice_is_refused(path: Path, text: str, where: str) -> None:
    (found,) = problems(path, text)
    assert f"{where}.id: " in found
    assert f"is taken by {where.replace('2', '0')}" in found


def test_a_model_and_a_datastore_may_share_an_id(path: Path) -> None:
    loaded(path, LEAST + "datastores: [{id: ml0}]\n")


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (LEAST + "run_dir: a\nrun_dir: b\n", "line 3: run_dir"),
        (
            LEAST + "watch:\n  poll_seconds: 1\n  poll_seconds: 1\n",
            "line 4: watch.poll",
        ),
        ("models:\n- id: a\n  url: x\n  url: y\n", "line 4: models[0].url"),
        (LEAST + LEAST, "line 2: models"),
    ],
)
def test_a_key_given_twice_is_refused(path: Path, text: str, where: str) -> None:
    found = problems(path, text)
    assert any(p.startswith(where) and "more than once" in p for p in found)


@pytest.mark.parametrize(
    ("name", "hint"),
    [("shard", "did you mean 'shared'?"), ("zzz", "it must be in datastores")],
)
def test_a_datastore_that_is_not_there_is_refused(
    path: Path, name: str, hint: str
) -> None:
    text = f"models:\n- id: a\n  url: x\n  datastore: {name}\n"
    (found,) = problems(path, text + "datastores: [{id: shared}]\n")
    assert found == f"line 4: models[0].datastore: no datastore '{name}'; {hint}"


def test_a_proxy_that_is_no_address_is_refused(path: Path) -> None:
    text = LEAST + "endpoint:\n  trusted_proxies: [10.0.0.0/8, nearby]\n"
    (found,) = problems(path, text)
    assert found == (
        "line 3: endpoint.trusted_proxies[1]: expected an address or CIDR, got 'nearby'"
    )


@pytest.mark.parametrize("text", ["", "# nothing\n", "[]", "5", "models", "- models"])
def test_only_a_mapping_is_a_config(path: Path, text: str) -> None:
    assert problems(path, text) == ["expected keys such as `models:`"]


@pytest.mark.parametrize(
    "text",
    [
        "models: [",
        "a: b: c",
        "\tmodels: []",
        "a: \0",
        "--- 1\n--- 2\n",
        "a: !unknown b",
        "a: *nowhere",
        "? [a]\n: 1\n",
        "? {a: 1}\n: 1\n",
        "a: {[b]: 1}",
        "a: !!int b",
        "a: !!timestamp b",
        "a: 2024-13-45",
        "a: 0b_",
        "a: " + "9" * 5000,
        "[" * 2000,
        "a: " + "[" * 2000 + "]" * 2000,
        "a: &a [*a]",
    ],
)
def test_what_is_not_yaml_is_refused(path: Path, text: str) -> None:
    assert problems(path, text)


def test_bytes_that_are_not_text_are_refused(path: Path) -> None:
    path.write_bytes(b"models: \xff\n")
    with pytest.raises(ConfigInvalid):
        load(path)


def test_a_file_that_cannot_be_read_is_refused(path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="No such file"):
        load(path)
    with pytest.raises(ConfigInvalid, match="directory"):
        load(path.parent)


@pytest.mark.parametrize("key", ["1", "null", "true", "1.5", "2024-01-01", "''"])
def test_a_key_that_is_not_text_is_unknown(path: Path, key: str) -> None:
    (found,) = problems(path, LEAST + f"{key}: 1\n")
    assert "unknown key" in found


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
    config = load(path if is_absolute else Path(path.name))
    assert config.models[0].url == expected.format(path.parent)
    assert config.run_dir == str(path.parent / "run")


def shown_url(path: Path, url: str) -> Any:
    text = yaml.safe_dump({"models": [{"id": "a", "url": url}]})
    return masked_config(loaded(path, text))["models"][0]["url"]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://user:secret@host:8/a", "https://***@host:8/a"),
        ("https://secret@host/a", "https://***@host/a"),
        ("https://user:sec@ret@host/a", "https://***@host/a"),
        ("https://host/a?sig=secret&t=secret", "https://host/a?sig=***&t=***"),
        ("https://u:secret@host/a?b=secret#c", "https://***@host/a?b=***#c"),
        ("s3://bucket/a", "s3://bucket/a"),
        ("/srv/a", "/srv/a"),
    ],
)
def test_secrets_in_a_url_are_masked(path: Path, url: str, expected: str) -> None:
    assert shown_url(path, url) == expected


def test_secrets_in_a_chained_url_are_masked(path: Path) -> None:
    assert "secret" not in shown_url(path, "simplecache::https://u:secret@host/a")


def test_a_malformed_url_is_refused_or_masked(path: Path) -> None:
    try:
        shown = shown_url(path, "https://u:secret@[host/a?t=secret")
    except ConfigInvalid:
        return
    assert "secret" not in shown


def test_masking_leaves_the_rest(path: Path) -> None:
    config = loaded(path, LEAST + "endpoint: {port: 9}\ndatastores: [{id: s}]\n")
    shown = masked_config(config)
    assert shown["endpoint"]["port"] == 9
    assert shown["datastores"][0]["id"] == "s"
    assert shown["models"][0]["id"] == "ml0"


@pytest.mark.parametrize(
    "text",
    [
        LEAST + "endpoint: {keepalive_seconds: .inf}\n",
        'models: [{id: a, url: "\\ud800"}]\n',
        "models: [{id: a, url: x, example: {y: {null: 1}}}]\n",
        "models: [{id: a, url: x, example: {y: [.nan, 2024-01-01, !!set {a, b}]}}]\n",
    ],
)
def test_a_config_that_is_taken_can_be_handed_to_workers(path: Path, text: str) -> None:
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
