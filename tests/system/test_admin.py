"""What a service tells to everybody, and what to those with an admin's token."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gomlx import Client
from gomlx.config.tokens import TokenFile, read_tokens
from gomlx.errors import ConfigInvalid
from tests.support import saved_models
from tests.support.service import Service, running, wait_for

TOKEN = "0123456789abcdef-token"
META = [f"/v1/api/model/m/meta/{name}" for name in ("config", "dictionary", "contract")]
DETAILS = [
    "/v1/api/config",
    "/v1/api/config/",
    "/v1/api/stats",
    "/v1/api/health",
    "/metrics",
    "/v1/prometheus",
    "/v1/api/metric/operations",
    "/v1/api/metric/counters",
]


def config(source: Path, **endpoint: Any) -> dict[str, Any]:
    tiers = [{"connection": "near", "deadline_ms": 1000}]
    return {
        "endpoint": endpoint,
        "models": [
            {"id": "m", "url": str(source), "datastore": "s"},
            {"id": "hidden", "url": str(source.parent / "absent")},
        ],
        "datastores": [{"id": "s", "memory_mb": 16, "tiers": tiers}],
        "connections": [
            {"id": "near", "url": f"unix://{source.parent}/none.sock", "ca_file": None}
        ],
    }


def service_in(folder: Path, **endpoint: Any) -> Any:
    home = folder / "alice"
    home.mkdir()
    source = saved_models.lookup(home / "model", ["a", "b"])
    (home / "tokens").write_text(f"{TOKEN}\n")
    (home / "tokens").chmod(0o600)
    return running(home, config(source, **endpoint))


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with service_in(tmp_path_factory.mktemp("opened")) as service:
        yield service


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("closed")
    with service_in(folder, admin={"token_file": "tokens"}) as service:
        yield service


def public(service: Service, path: str, method: str = "GET") -> httpx.Response:
    return httpx.request(method, service.url + path, timeout=30)


def test_the_config_has_paths_relative_to_its_folder(opened: Service) -> None:
    document = public(opened, "/v1/api/config").json()
    assert document["run_dir"] == "run"
    assert document["models"][0]["url"] == "model"
    assert document["connections"][0]["url"] == "unix://…/none.sock"
    assert "folder" not in document
    assert "alice" not in json.dumps(document)


def test_no_answer_of_a_service_shows_folders(opened: Service) -> None:
    public(opened, "/v1/api/model/m/eval?key=a")  # looks Redis up
    texts = [public(opened, path).text for path in (*DETAILS, *META, "/readyz")]
    texts.append(public(opened, "/v1/api/model/hidden/eval?key=a").text)
    assert "saved_model.pb" in texts[-1]
    for text in texts:
        assert "alice" not in text
        assert str(opened.folder.parent) not in text


def test_without_admins_all_is_open(opened: Service) -> None:
    for path in (*DETAILS, *META, "/livez"):
        assert public(opened, path).status_code == 200, path
    assert set(public(opened, "/readyz").json()["models"]) == {"m", "hidden"}
    assert "hidden" in public(opened, "/nowhere").json()["error"]
    assert "hidden" in public(opened, META[0].replace("/m/", "/x/")).json()["error"]


@pytest.mark.parametrize("path", DETAILS)
def test_details_need_a_token(closed: Service, path: str) -> None:
    assert closed.get(path).status_code == 200
    for method in ("GET", "HEAD"):
        reply = public(closed, path, method)
        assert reply.status_code == 401
        assert reply.headers["www-authenticate"].startswith("Bearer")
    assert "endpoint.admin.token_file" in public(closed, path).json()["error"]
    wrong = (f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", TOKEN)
    for value in (*wrong, "Bearer", ""):
        headers = {"Authorization": value}
        assert httpx.get(closed.url + path, headers=headers).status_code == 401, value


def test_others_learn_no_models_and_no_reasons(closed: Service) -> None:
    ready = public(closed, "/readyz")
    assert (ready.status_code, ready.json()) == (503, {"ready": False})
    assert public(closed, "/livez").json() == {"live": True}
    replies = [
        public(closed, "/nowhere"),
        public(closed, "/v1/api/model/x/eval?key=a"),
        public(closed, "/v1/api/model/x/meta/config"),
        httpx.post(f"{closed.url}/v1/api/model/x/eval", json={"key": "a"}),
        public(closed, "/v1/api/metric/nothing"),
    ]
    for reply in replies:
        assert reply.status_code == 404
        assert "hidden" not in reply.text
    reply = public(closed, "/v1/api/model/hidden/eval?key=a")
    assert reply.status_code == 503
    assert "saved_model.pb" not in reply.text
    assert "/readyz" in reply.json()["error"]
    assert reply.headers["retry-after"]
    problem = closed.ready()["models"]["hidden"]["problem"]
    assert "saved_model.pb" in problem


def test_the_page_is_open_and_what_it_reads_is_not(closed: Service) -> None:
    for path in ("/ui", "/ui/page.js", "/ui/page.css"):
        assert public(closed, path).status_code == 200
    assert public(closed, "/v1/api/stats?history").status_code == 401


def test_clients_work_without_a_token(closed: Service) -> None:
    for path in META:
        assert public(closed, path).status_code == 200
    dictionary = public(closed, META[1]).json()
    assert dictionary["Layers"][0]["Strings"] == ["a", "b"]
    with Client("m", closed.url) as client:
        (name,) = client.contract.signature.names if client.contract else ("",)
        assert client.predict({name: "a"})
    assert public(closed, f"/v1/api/model/m/eval?{name}=a").status_code == 200


def test_tokens_are_changed_without_a_restart(closed: Service) -> None:
    tokens = closed.folder / "tokens"
    other = "another-token-of-an-admin"

    def status(token: str) -> int:
        headers = {"Authorization": f"bearer {token}"}
        reply = httpx.get(f"{closed.url}/v1/api/config", headers=headers)
        return reply.status_code

    try:
        assert (status(TOKEN), status(other)) == (200, 401)
        tokens.write_text(f"# ours\n{TOKEN}\n{other}\n")
        wait_for(lambda: (status(TOKEN), status(other)) == (200, 200))
        tokens.write_text(f"{other}\n")
        wait_for(lambda: (status(TOKEN), status(other)) == (401, 200))
        tokens.write_text("short\n")
        wait_for(lambda: "token_file" in closed.text())
        assert (status("short"), status(other)) == (401, 200)
    finally:
        tokens.write_text(f"{TOKEN}\n")


def test_words_may_be_for_admins_only(tmp_path: Path) -> None:
    admin = {"token_file": "tokens", "open_meta": False, "page": False}
    with service_in(tmp_path, admin=admin) as service:
        assert service.get("/ui").status_code == 404
        assert service.get("/v1/api/stats?history").json()["history"] == []
        for path in META:
            assert public(service, path).status_code == 401
            assert service.get(path).status_code == 200
        assert public(service, "/v1/api/model/m/eval?key=a").status_code != 401


@pytest.mark.parametrize(
    ("text", "mode", "problem"),
    [
        (TOKEN, 0o644, "its mode is 0644"),
        ("", 0o600, "expected a token a line"),
        ("short", 0o600, "line 1: expected a token"),
        (f"{TOKEN}\nwith space and more", 0o600, "line 2"),
    ],
)
def test_a_file_without_tokens_or_that_others_may_read_is_refused(
    tmp_path: Path, text: str, mode: int, problem: str
) -> None:
    path = tmp_path / "tokens"
    path.write_text(text)
    path.chmod(mode)
    with pytest.raises(ConfigInvalid, match=problem) as caught:
        read_tokens("endpoint.admin", str(path))
    assert TOKEN not in str(caught.value)
    tokens = TokenFile("endpoint.admin", str(path))  # of a worker that is replaced
    assert not tokens.has(TOKEN)
    path.write_text(f"# mine\n{TOKEN}\n")
    path.chmod(0o600)
    assert [tokens.look(), tokens.look(), tokens.look()] == [False, True, False]
    assert tokens.has(TOKEN)
