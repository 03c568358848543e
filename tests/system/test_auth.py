"""Who may ask for predictions, by tokens and by certificates, on each way to them."""

import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from gomlx import Client, Options
from gomlx.errors import Forbidden, Unauthorized
from tests.support import saved_models
from tests.support.certificates import Endpoint
from tests.support.service import Service, running, wait_for

ADMIN = "token-of-an-administrator"
ALL = "token-of-a-client-of-all-models"
ONE = "token-of-a-client-of-one-model"
WRONG = "token-that-nobody-has-got"
ROW = {"key": "a"}


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Endpoint:
    return Endpoint(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def service(
    endpoint: Endpoint, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("auth")
    for name, token in {"admin": ADMIN, "all": ALL, "one": ONE}.items():
        (folder / name).write_text(f"{token}\n")
        (folder / name).chmod(0o600)
    clients = [
        {"name": "all", "token_file": "all"},
        {"name": "one", "token_file": "one", "models": ["m"]},
        {"name": "certified", "subjects": ["CN=batch,O=Ours"], "models": ["m"]},
    ]
    source = saved_models.lookup(folder / "model", ["a", "b"])
    tls = endpoint.config(client_ca=str(endpoint.ca), client_certificate="optional")
    config: dict[str, Any] = {
        "endpoint": {
            "auth": {"clients": clients},
            "admin": {"token_file": "admin"},
            "tls": tls,
        },
        "models": [{"id": one, "url": str(source), "datastore": "s"} for one in "mn"],
        "datastores": [{"id": "s", "memory_mb": 16}],
    }
    with running(folder, config, trust=endpoint.trust()) as running_service:
        yield running_service


def certified(
    endpoint: Endpoint, name: str, *protocols: str, **options: Any
) -> ssl.SSLContext:
    """Return a client's context with a certificate for CN=name, O=Ours."""
    options |= {"common_name": name, "organization_name": "Ours"}
    issued = endpoint.authority.issue_cert(f"{name}@x.example", **options)
    context = endpoint.trust(False, *protocols)
    issued.configure_cert(context)
    return context


def bearer(token: str | None) -> dict[str, str]:
    return {} if token is None else {"Authorization": f"Bearer {token}"}


def hot(client: httpx.Client, model: str) -> httpx.Response:
    return client.post(f"/v1/api/model/{model}/eval", json={"word": "a"})


def by_query(client: httpx.Client, model: str) -> httpx.Response:
    return client.get(f"/v1/api/model/{model}/eval?word=a")


def by_falcon(client: httpx.Client, model: str) -> httpx.Response:
    body = b'{"word": "a"}'
    headers = {"Transfer-Encoding": "chunked", "Content-Type": "application/json"}
    target = f"/v1/api/model/%{ord(model):x}/eval"
    return client.post(target, content=iter([body]), headers=headers)


def stream(client: httpx.Client, model: str) -> httpx.Response:
    return client.post(f"/v1/api/model/{model}/stream", content=b'{"word": "a"}\n')


def contract(client: httpx.Client, model: str) -> httpx.Response:
    return client.get(f"/v1/api/model/{model}/meta/contract")


WAYS = [hot, by_query, by_falcon, stream, contract]


def client_of(
    service: Service, trust: ssl.SSLContext, token: str | None, http2: bool = False
) -> httpx.Client:
    return httpx.Client(
        base_url=service.url, verify=trust, headers=bearer(token), http2=http2
    )


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
@pytest.mark.parametrize("way", WAYS)
def test_tokens(
    service: Service,
    endpoint: Endpoint,
    way: Callable[[httpx.Client, str], httpx.Response],
    http2: bool,
) -> None:
    protocols = ["h2"] if http2 else ["http/1.1"]
    trust = endpoint.trust(False, *protocols)
    expected = {
        None: [401, 401, 401],
        WRONG: [401, 401, 401],
        ALL[:-1]: [401, 401, 401],
        ONE: [200, 403, 403],
        ALL: [200, 200, 404],
        ADMIN: [200, 200, 404],
    }
    for token, statuses in expected.items():
        with client_of(service, trust, token, http2) as client:
            replies = [way(client, model) for model in "mnx"]
            again = [way(client, model).status_code for model in "mnx"]
        assert [one.status_code for one in replies] == statuses == again, token
        for reply in replies:
            assert ("www-authenticate" in reply.headers) == (reply.status_code == 401)
        challenge = replies[0].headers.get("www-authenticate", "")
        assert ("invalid_token" in challenge) == (token in (WRONG, ALL[:-1]))


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
@pytest.mark.parametrize("way", WAYS)
def test_certificates(
    service: Service,
    endpoint: Endpoint,
    way: Callable[[httpx.Client, str], httpx.Response],
    http2: bool,
) -> None:
    protocol = "h2" if http2 else "http/1.1"
    for name, statuses in {"batch": [200, 403], "other": [401, 401]}.items():
        trust = certified(endpoint, name, protocol)
        with client_of(service, trust, None, http2) as client:
            found = [way(client, model).status_code for model in "mnmn"]
        assert found == statuses * 2, name
    trust = certified(endpoint, "batch", protocol)
    with client_of(service, trust, ALL, http2) as client:  # what either may
        assert way(client, "n").status_code == 200


def test_a_certificate_that_has_expired(service: Service, endpoint: Endpoint) -> None:
    trust = certified(endpoint, "batch", not_after=datetime(2020, 1, 1, tzinfo=UTC))
    with client_of(service, trust, None) as client, pytest.raises(httpx.TransportError):
        hot(client, "m")


def test_a_certificate_that_expires_while_its_connections_are_open(
    service: Service, endpoint: Endpoint
) -> None:
    end = datetime.now(UTC) + timedelta(seconds=8)
    with ExitStack() as stack:
        clients = [
            stack.enter_context(
                client_of(
                    service,
                    certified(endpoint, "batch", protocol, not_after=end),
                    None,
                    protocol == "h2",
                )
            )
            for protocol in ("http/1.1", "h2")
        ]
        found = [[hot(client, "m").status_code for client in clients]]
        while found[-1] != [401, 401]:
            assert datetime.now(UTC) < end + timedelta(seconds=60)
            # Before they are idle for so long that the client opens others.
            time.sleep(0.1)
            found.append([hot(client, "m").status_code for client in clients])
        assert found[0] == [200, 200]


def test_tokens_that_are_rotated(service: Service, endpoint: Endpoint) -> None:
    """On open connections, too, which have had answers before."""
    tokens = service.folder / "all"
    other = f"another-{ALL}"
    trust = endpoint.trust(False)
    with client_of(service, trust, ALL) as old, client_of(service, trust, other) as new:

        def statuses() -> list[int]:
            return [way(one, "n").status_code for one in (old, new) for way in WAYS]

        try:
            assert statuses() == [200] * 5 + [401] * 5
            tokens.write_text(f"{ALL}\n{other}\n")
            wait_for(lambda: statuses() == [200] * 10, 30)
            tokens.write_text(f"{other}\n")
            wait_for(lambda: statuses() == [401] * 5 + [200] * 5, 30)
            tokens.chmod(0o644)
            wait_for(lambda: "its mode is 0644" in service.text(), 30)
            assert statuses() == [401] * 5 + [200] * 5
        finally:
            tokens.chmod(0o600)
            tokens.write_text(f"{ALL}\n")
            wait_for(lambda: hot(old, "n").status_code == 200, 30)


def test_what_others_may_see(service: Service, endpoint: Endpoint) -> None:
    trust = endpoint.trust(False)
    with client_of(service, trust, ALL) as client:
        assert client.get("/readyz").json() == {"ready": True}
        assert client.get("/livez").status_code == 200
        for path in ("/metrics", "/v1/api/config", "/v1/api/stats", "/v1/api/health"):
            assert client.get(path).status_code == 401
        assert client.options("/v1/api/model/m/eval").status_code == 204
    assert str(service.folder) not in service.get("/v1/api/config").text
    assert ALL not in service.text() + service.get("/v1/api/config").text


def test_a_python_client_with_a_token(
    service: Service, endpoint: Endpoint, tmp_path: Path
) -> None:
    ca = str(endpoint.ca)
    mine = tmp_path / "token"
    mine.write_text(f"{WRONG}\n")
    mine.chmod(0o600)
    url = service.url
    with Client("m", url, options=Options(ca_file=ca, token=ONE)) as client:
        assert client.predict(word="a")["y"] == 0.0
    assert ONE not in repr(client.options)
    options = Options(ca_file=ca, token=ONE)
    with pytest.raises(Forbidden, match="may not use model 'n'"):
        Client("n", url, options=options).start()
    options = Options(ca_file=ca, token_file=str(mine), ttl_seconds=0.001)
    client = Client("m", url, options=options)
    with pytest.raises(Unauthorized, match="the token is not known"):
        client.start()
    mine.write_text(f"{ONE}\n")
    with client:
        assert client.predict(word="b")["y"] == 1.0
    with pytest.raises(Unauthorized, match="no known token or certificate"):
        Client("m", url, options=Options(ca_file=ca)).start()
