"""Who may do what, by the config: what contradicts itself, and what is open to all."""

import re
from collections.abc import Iterator, Sequence

from gomlx.config.problem import Problem, Problems, nearest
from gomlx.config.schema import Admin, AuthClient, Endpoint
from gomlx.runtime.networks import is_loopback

_is_subject = re.compile(r"\s*[A-Za-z][A-Za-z0-9.-]*=[^,]+(,.+)?").fullmatch
_DETAILS = "metrics, the config, statistics and why a model is not ready"


def access_problems(endpoint: Endpoint, models: Sequence[str]) -> Problems:
    """Yield what contradicts something else; models: those of the config."""
    clients = endpoint.auth.clients if endpoint.auth else ()
    names = [client.name for client in clients]
    for i, client in enumerate(clients):
        path = f"endpoint.auth.clients[{i}]"
        if client.name in names[:i]:
            first = f"endpoint.auth.clients[{names.index(client.name)}]"
            yield Problem.at(f"{path}.name", f"{client.name!r} is used by {first}")
        yield from _client_problems(endpoint, client, models, path)
    if endpoint.admin:
        yield from _admin_problems(endpoint, endpoint.admin, "endpoint.admin")


def _client_problems(
    endpoint: Endpoint, client: AuthClient, models: Sequence[str], path: str
) -> Problems:
    if client.token_file is None and not client.subjects:
        yield Problem.at(path, "expected a token_file, or subjects of certificates")
    if client.subjects and (endpoint.tls is None or endpoint.tls.client_ca is None):
        yield Problem.at(f"{path}.subjects", "expected endpoint.tls with a client_ca")
    for i, subject in enumerate(client.subjects):
        if not _is_subject(subject):
            reason = f"expected names such as CN=batch, got {subject!r}"
            yield Problem.at(f"{path}.subjects[{i}]", reason)
    for i, model in enumerate(client.models or ()):
        if model not in models:
            hint = nearest(model, models, "it must be in models")
            yield Problem.at(f"{path}.models[{i}]", f"no model {model!r}; {hint}")


def _admin_problems(endpoint: Endpoint, admin: Admin, path: str) -> Problems:
    if admin.port is None:
        if admin.token_file is None:
            yield Problem.at(path, "expected a token_file, or a port of its own")
        if admin.allow:
            reason = "only a listener of its own looks at addresses: expected a port"
            yield Problem.at(f"{path}.allow", reason)
    elif admin.port and admin.port == endpoint.port and _overlap(endpoint, admin):
        yield Problem.at(f"{path}.port", f"{admin.port} is the endpoint's")


def _overlap(endpoint: Endpoint, admin: Admin) -> bool:
    """Whether one port cannot be both."""
    hosts = {endpoint.host, admin.host}
    return len(hosts) == 1 or not hosts.isdisjoint({"0.0.0.0", "::"})


def exposures(endpoint: Endpoint) -> Iterator[str]:
    """Yield what everybody may do who reaches a port that is not loopback's."""
    admin = endpoint.admin
    if not is_loopback(endpoint.host):
        required = endpoint.tls and endpoint.tls.client_certificate == "required"
        if endpoint.auth is None and not required:
            yield (
                f"whoever reaches {endpoint.host}:{endpoint.port} may ask for "
                "predictions: set endpoint.auth, or let only a proxy reach it"
            )
        if endpoint.auth is None and admin is None:
            yield (
                f"whoever reaches {endpoint.host}:{endpoint.port} may see {_DETAILS}: "
                "set endpoint.admin"
            )
        if endpoint.tls is None and (endpoint.auth or (admin and admin.port is None)):
            yield (
                f"tokens come to {endpoint.host}:{endpoint.port} in the clear: set "
                "endpoint.tls, or let only a proxy reach it"
            )
    if admin and admin.port is not None and not is_loopback(admin.host):
        yield from _admin_exposures(endpoint, admin)


def _admin_exposures(endpoint: Endpoint, admin: Admin) -> Iterator[str]:
    where = f"{admin.host}:{admin.port}"
    if admin.token_file is None and not admin.allow:
        yield (
            f"whoever reaches {where} may see {_DETAILS}: set token_file or allow of "
            "endpoint.admin"
        )
    if admin.token_file and not (endpoint.tls and admin.tls):
        yield f"tokens of admins come to {where} in the clear: set endpoint.tls"


def hidden(endpoint: Endpoint) -> Iterator[str]:
    """Yield what no client may see although some may want to."""
    if endpoint.auth and endpoint.admin is None:
        hidden_ones = f"no client may see {_DETAILS}"
        yield f"with endpoint.auth alone {hidden_ones}: set endpoint.admin"


def token_files(endpoint: Endpoint) -> Iterator[tuple[str, str]]:
    """Yield each file of tokens, after the option that names it."""
    if endpoint.admin and endpoint.admin.token_file:
        yield "endpoint.admin", endpoint.admin.token_file
    for i, client in enumerate(endpoint.auth.clients if endpoint.auth else ()):
        if client.token_file:
            yield f"endpoint.auth.clients[{i}]", client.token_file
