"""What a service lets whom do: each attempt, and its answer.

Admins have a listener of their own, for some addresses only, and a token; predictions
are for known clients. The service is started with a umask that hides nothing.
"""

import ssl
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support import saved_models
from tests.support.certificates import Endpoint
from tests.support.service import Service, running, wait_for

ADMIN = "token-of-an-administrator"
CLIENT = "token-of-a-client-with-no-limits"
WRONG = "token-that-nobody-has-got"
NEAR = "127.1.0.5"
FAR = "127.10.0.1"
PROXY = "127.0.0.1"  # one of the trusted proxies
EVAL = "/v1/api/model/m/eval?word=a"
CONTRACT = "/v1/api/model/m/meta/contract"
DETAILS = [
    "/metrics",
    "/v1/prometheus",
    "/v1/api/config",
    "/v1/api/stats",
    "/v1/api/health",
    "/v1/api/metric/operations",
    "/v1/api/metric/counters",
]
EVERYBODY = {"allow": ["::1", "127.1.0.0/16", "127.0.0.1"]}


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Endpoint:
    return Endpoint(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def service(
    endpoint: Endpoint, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("guard")
    for name, token in {"admins": ADMIN, "clients": CLIENT}.items():
        (folder / name).write_text(f"{token}\n")
        (folder / name).chmod(0o600)
    clients = [
        {"name": "shop", "token_file": "clients"},
        {"name": "batch", "subjects": ["CN=batch"]},
    ]
    # Of IPv6 and IPv4: all peers over IPv4 have mapped addresses.
    admin = {"port": 0, "host": "::", "token_file": "admins", **EVERYBODY}
    tls = endpoint.config(client_ca=str(endpoint.ca), client_certificate="optional")
    config: dict[str, Any] = {
        "endpoint": {"auth": {"clients": clients}, "admin": admin, "tls": tls},
        "models": [
            {
                "id": "m",
                "url": str(saved_models.lookup(folder / "model", ["a", "b"])),
                "datastore": "s",
            }
        ],
        "datastores": [{"id": "s", "memory_mb": 16}],
    }
    prefix = ["sh", "-c", 'umask 000; exec "$@"', "sh"]
    trust = endpoint.trust()
    with running(folder, config, prefix, trust, stages=True) as running_service:
        yield running_service


@dataclass(frozen=True)
class Attempt:
    """A request, and the status of its answer; 0: its connection is refused.

    source: the address that it comes from. common_name: of its certificate.
    """

    path: str
    status: int
    is_at_admin: bool = True
    token: str | None = ADMIN
    source: str = NEAR
    headers: dict[str, str] = field(default_factory=dict)
    common_name: str = ""
    has_expired: bool = False


def spoofed(**headers: str) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


ATTEMPTS = {
    # The listener of admins: an address and a token.
    **{f"admin {path}": Attempt(path, 200) for path in (*DETAILS, CONTRACT, EVAL)},
    "from 10.10 where 10.1 may": Attempt("/metrics", 403, source=FAR),
    "spoofed X-Forwarded-For": Attempt(
        "/metrics", 403, source=FAR, headers=spoofed(X_Forwarded_For=NEAR)
    ),
    "spoofed Forwarded": Attempt(
        "/metrics", 403, source=FAR, headers=spoofed(Forwarded=f"for={NEAR}")
    ),
    "spoofed X-Real-IP": Attempt(
        "/metrics", 403, source=FAR, headers=spoofed(X_Real_IP="::1")
    ),
    "a spoofed address that may not": Attempt(
        "/metrics", 200, headers=spoofed(X_Forwarded_For=FAR)
    ),
    # A trusted proxy that may see details tells whose request it passes on.
    "by a proxy, of who may": Attempt(
        "/metrics", 200, source=PROXY, headers=spoofed(X_Forwarded_For=NEAR)
    ),
    "by a proxy, of who may not": Attempt(
        "/metrics", 403, source=PROXY, headers=spoofed(X_Forwarded_For=FAR)
    ),
    "by a proxy, of who says that another one asks": Attempt(
        "/metrics", 403, source=PROXY, headers=spoofed(X_Forwarded_For=f"{NEAR}, {FAR}")
    ),
    "by a proxy, of who says that the proxy asks": Attempt(
        "/metrics", 403, source=PROXY, headers=spoofed(X_Forwarded_For=f"::1, {FAR}")
    ),
    "by a proxy, in both headers": Attempt(
        "/metrics",
        403,
        source=PROXY,
        headers=spoofed(Forwarded=f"for={FAR}", X_Forwarded_For=NEAR),
    ),
    "no token": Attempt("/metrics", 401, token=None),
    "a wrong token": Attempt("/metrics", 401, token=WRONG),
    "the beginning of a token": Attempt("/metrics", 401, token=ADMIN[:-1]),
    "a client's token": Attempt("/metrics", 401, token=CLIENT),
    "predictions there, without a token": Attempt(EVAL, 401, token=None),
    "predictions there, as a client": Attempt(EVAL, 401, token=CLIENT),
    "probes from elsewhere": Attempt("/livez", 200, token=None, source=FAR),
    "readiness from elsewhere": Attempt("/readyz", 200, token=None, source=FAR),
    "the page, which asks for a token": Attempt("/ui", 200, token=None),
    # The endpoint's own: no details, whoever asks.
    "the public page": Attempt("/ui", 404, False),
    **{f"public {path}": Attempt(path, 404, False) for path in DETAILS},
    "details, hidden in a path": Attempt("/v1/api/%63onfig", 404, False),
    "details, as an absolute target": Attempt("//v1/api/config", 404, False),
    "public probe": Attempt("/livez", 200, False, token=None),
    "public readiness": Attempt("/readyz", 200, False, token=None),
    "an admin is no client": Attempt(EVAL, 401, False),
    "a client": Attempt(EVAL, 200, False, token=CLIENT),
    "a client from anywhere": Attempt(EVAL, 200, False, token=CLIENT, source=FAR),
    "a client learns the model": Attempt(CONTRACT, 200, False, token=CLIENT),
    "others do not": Attempt(CONTRACT, 401, False, token=None),
    "an unknown model": Attempt("/v1/api/model/x/eval", 401, False, token=None),
    "public, without a token": Attempt(EVAL, 401, False, token=None),
    "public, with a wrong token": Attempt(EVAL, 401, False, token=WRONG),
    "a certificate": Attempt(EVAL, 200, False, token=None, common_name="batch"),
    "another's": Attempt(EVAL, 401, False, token=None, common_name="other"),
    "one that has expired": Attempt(
        EVAL, 0, False, token=None, common_name="batch", has_expired=True
    ),
    "a certificate is no admin": Attempt(
        "/metrics", 401, token=None, common_name="batch"
    ),
}


def trust_of(endpoint: Endpoint, attempt: Attempt) -> ssl.SSLContext:
    trust = endpoint.trust(False)
    if attempt.common_name:
        past = {"not_after": datetime(2020, 1, 1, tzinfo=UTC)}
        options: dict[str, Any] = past if attempt.has_expired else {}
        name = attempt.common_name
        options["common_name"] = name
        issued = endpoint.authority.issue_cert(f"{name}@x.example", **options)
        issued.configure_cert(trust)
    return trust


def ask(service: Service, endpoint: Endpoint, attempt: Attempt) -> httpx.Response:
    url = service.details_url if attempt.is_at_admin else service.url
    port = httpx.URL(url).port
    trust = trust_of(endpoint, attempt)
    transport = httpx.HTTPTransport(verify=trust, local_address=attempt.source)
    headers = dict(attempt.headers)
    if attempt.token is not None:
        headers["Authorization"] = f"Bearer {attempt.token}"
    with httpx.Client(transport=transport) as client:
        return client.get(f"https://127.0.0.1:{port}{attempt.path}", headers=headers)


@pytest.mark.parametrize("name", ATTEMPTS)
def test_the_guard(service: Service, endpoint: Endpoint, name: str) -> None:
    attempt = ATTEMPTS[name]
    if not attempt.status:
        with pytest.raises(httpx.TransportError):
            ask(service, endpoint, attempt)
        return
    reply = ask(service, endpoint, attempt)
    assert reply.status_code == attempt.status, reply.text
    assert str(service.folder) not in reply.text
    if attempt.status in (401, 403, 404):
        assert "'m'" not in reply.text
    if attempt.path == "/readyz":
        assert reply.json() == {"ready": True}


def test_a_token_that_is_rotated(service: Service, endpoint: Endpoint) -> None:
    tokens = service.folder / "admins"
    new = f"new-{ADMIN}"

    def statuses() -> list[int]:
        attempts = [Attempt("/metrics", 0, token=token) for token in (ADMIN, new)]
        return [ask(service, endpoint, one).status_code for one in attempts]

    try:
        tokens.write_text(f"{new}\n")
        wait_for(lambda: statuses() == [401, 200], 30)
    finally:
        tokens.write_text(f"{ADMIN}\n")
        wait_for(lambda: statuses() == [200, 401], 30)


def test_files_are_private_whatever_the_umask_is(service: Service) -> None:
    for root in (service.run_dir, service.files.shared):
        paths = [root, *root.rglob("*")]
        assert len(paths) > 5
        for path in paths:
            mode = stat.S_IMODE(path.lstat().st_mode)
            assert not mode & 0o077, f"{path}: {mode:04o}"


def test_probes_of_admins_are_answered_before_a_model_is_there(tmp_path: Path) -> None:
    """And connections to the endpoint are refused until then."""
    config = {
        "endpoint": {"admin": {"port": 0}},
        "models": [{"id": "m", "url": str(tmp_path / "absent" / "pipe")}],
        "watch": {"settle_seconds": 3600},
    }
    (tmp_path / "absent" / "pipe").mkdir(parents=True)
    service = Service(tmp_path, config)
    service.launch()
    try:
        wait_for(lambda: "details are at" in service.text())
        admin = service.text().partition("details are at ")[2].partition(",")[0]

        def answers() -> bool:
            try:
                return httpx.get(f"{admin}/livez", timeout=30).status_code == 200
            except httpx.ConnectError:
                return False

        wait_for(answers)
        reply = httpx.get(f"{admin}/readyz", timeout=30)
        assert (reply.status_code, reply.json()["ready"]) == (503, False)
        line = next(x for x in service.text().splitlines() if "takes connections" in x)
        url = line.partition("http://")[2].split()[0]
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://{url}/livez", timeout=30)
    finally:
        service.stop()
