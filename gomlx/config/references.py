"""What the types of a config cannot say: names that lead nowhere, contradictions."""

import ipaddress
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

import msgspec

from gomlx.cache.redis.address import parse
from gomlx.config.yaml import nearest

if TYPE_CHECKING:
    from gomlx.config.schema import Config, Connection, Datastore, Model, Tls

_Problems = Iterator[tuple[str, str]]


def reference_problems(config: "Config") -> _Problems:
    """Yield (path, message) of what contradicts something else in a config."""
    groups = {
        "models": [model.id for model in config.models],
        "datastores": [store.id for store in config.datastores],
        "connections": [connection.id for connection in config.connections],
    }
    for group, ids in groups.items():
        yield from _taken(group, ids)
    for i, model in enumerate(config.models):
        yield from _model_problems(config, model, f"models[{i}]")
    for i, store in enumerate(config.datastores):
        yield from _store_problems(store, groups["connections"], f"datastores[{i}]")
    for i, connection in enumerate(config.connections):
        yield from _connection_problems(connection, f"connections[{i}]")
    for i, proxy in enumerate(config.endpoint.trusted_proxies):
        try:
            ipaddress.ip_network(proxy)
        except ValueError:
            where = f"endpoint.trusted_proxies[{i}]"
            yield where, f"{where}: expected an address or CIDR, got {proxy!r}"
    if config.endpoint.tls:
        yield from _tls_problems(config.endpoint.tls, "endpoint.tls")
    try:
        msgspec.json.encode(config)  # how workers get it
    except (TypeError, ValueError) as error:
        yield "", f"cannot be written as JSON: {error}"


def _tls_problems(tls: "Tls", path: str) -> _Problems:
    asks = tls.client_certificate != "none"
    if asks and tls.client_ca is None:
        where = f"{path}.client_certificate"
        yield where, f"{where}: {tls.client_certificate} needs a client_ca"
    if not asks and tls.client_ca is not None:
        where = f"{path}.client_ca"
        expected = "client_certificate: optional or required"
        yield where, f"{where}: nobody is asked for a certificate; expected {expected}"


def _taken(group: str, ids: list[str]) -> _Problems:
    for i, name in enumerate(ids):
        if name in ids[:i]:
            where = f"{group}[{i}].id"
            yield where, f"{where}: {name!r} is taken by {group}[{ids.index(name)}]"


def _model_problems(config: "Config", model: "Model", path: str) -> _Problems:
    stores = [store.id for store in config.datastores]
    if model.datastore is not None and model.datastore not in stores:
        where = f"{path}.datastore"
        hint = nearest(model.datastore, stores, "it must be in datastores")
        yield where, f"{where}: no datastore {model.datastore!r}; {hint}"
    else:
        missing = _missing(model.coalesce, config.datastore_of(model))
        if missing:
            where = f"{path}.coalesce"
            yield where, f"{where}: {model.coalesce} needs {missing}"
    yield from chain(_input_problems(model, path), _key_problems(model, path))


def _missing(coalesce: str, store: "Datastore | None") -> str | None:
    """Return what a way to share computations needs and a datastore has not."""
    if coalesce == "host" and (store is None or not store.memory_mb):
        return "a datastore with memory_mb"
    if coalesce == "fleet" and (store is None or not store.tiers):
        return "a datastore with tiers"
    if coalesce == "fleet" and store and store.tiers[0].read_only:
        return "the nearest tier not to be read_only"
    return None


def _input_problems(model: "Model", path: str) -> _Problems:
    names = [given.name for given in model.inputs]
    for i, given in enumerate(model.inputs):
        where = f"{path}.inputs[{i}]"
        if given.name in names[:i]:
            yield where, f"{where}: input {given.name!r} is given more than once"
        said = {
            "precision": given.precision is not None,
            "wildcard": given.wildcard,
            "auxiliary": given.auxiliary,
        }
        if sum(said.values()) != 1:
            found = " and ".join(key for key, value in said.items() if value)
            expected = "one of precision, wildcard and auxiliary"
            yield where, f"{where}: expected {expected}, got {found or 'none'}"


def _key_problems(model: "Model", path: str) -> _Problems:
    for i, name in enumerate(model.key_fields):
        if name in model.key_fields[:i]:
            where = f"{path}.key_fields[{i}]"
            yield where, f"{where}: {name!r} is given more than once"


def _store_problems(store: "Datastore", known: list[str], path: str) -> _Problems:
    if not store.memory_mb and not store.tiers:
        yield path, f"{path}: expected memory_mb above 0 or tiers, got neither"
    names = [tier.connection for tier in store.tiers]
    for i, name in enumerate(names):
        where = f"{path}.tiers[{i}].connection"
        if name not in known:
            hint = nearest(name, known, "it must be in connections")
            yield where, f"{where}: no connection {name!r}; {hint}"
        elif name in names[:i]:
            yield where, f"{where}: {name!r} is a tier of this datastore already"


def _connection_problems(connection: "Connection", path: str) -> _Problems:
    try:
        address = parse(connection.url)
    except ValueError as error:
        yield f"{path}.url", f"{path}.url: {error}"
        return
    if connection.password is not None and connection.password_file is not None:
        where = f"{path}.password_file"
        yield where, f"{where}: there is a password already; give one of the two"
    if connection.key_file is not None and connection.cert_file is None:
        yield f"{path}.key_file", f"{path}.key_file: expected a cert_file with it"
    for name in ("ca_file", "cert_file"):
        if getattr(connection, name) is not None and not address.tls:
            where = f"{path}.{name}"
            yield where, f"{where}: only rediss:// urls use it"
