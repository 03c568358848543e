"""Checks what types cannot say: names that lead nowhere, contradictions."""

import re
from importlib.util import find_spec
from itertools import chain
from urllib.parse import urlsplit

import msgspec

from gomlx.cache.redis.address import parse
from gomlx.config.access import access_problems
from gomlx.config.problem import Problem, Problems, nearest
from gomlx.config.schema import (
    Config,
    Connection,
    Cors,
    Datastore,
    Endpoint,
    Model,
    Tls,
    Tracing,
)
from gomlx.runtime.masking import masked
from gomlx.runtime.networks import network_of

_DEFAULT_SIGNATURE = "serving_default"
_is_origin = re.compile(r"\*|[a-z][a-z0-9+.-]*://[^/?#\s,*]+").fullmatch
_is_header = re.compile(r"[A-Za-z0-9-]+").fullmatch


def reference_problems(config: Config) -> Problems:
    """Yield what contradicts something else in a config."""
    models = [model.id for model in config.models]
    datastores = [store.id for store in config.datastores]
    connections = [connection.id for connection in config.connections]
    yield from _repeated_ids("models", models)
    yield from _repeated_ids("datastores", datastores)
    yield from _repeated_ids("connections", connections)
    for i, model in enumerate(config.models):
        yield from _model_problems(config, model, f"models[{i}]")
    for i, store in enumerate(config.datastores):
        yield from _store_problems(store, connections, f"datastores[{i}]")
    for i, connection in enumerate(config.connections):
        yield from _connection_problems(connection, f"connections[{i}]")
    yield from _endpoint_problems(config.endpoint)
    yield from access_problems(config.endpoint, models)
    yield from _encoding_problems(config)
    yield from _tracing_problems(config.tracing)


def _repeated_ids(section: str, ids: list[str]) -> Problems:
    for i, name in enumerate(ids):
        if name in ids[:i]:
            first = f"{section}[{ids.index(name)}]"
            yield Problem.at(f"{section}[{i}].id", f"{name!r} is used by {first}")


def _tracing_problems(tracing: Tracing | None) -> Problems:
    if tracing is None:
        return
    if not _has_opentelemetry():
        reason = "needs OpenTelemetry's SDK: pip install 'gomlx[otel]'"
        yield Problem.at("tracing", reason)
    endpoint = urlsplit(tracing.endpoint or "http://localhost")
    if endpoint.scheme not in ("http", "https") or not endpoint.hostname:
        reason = (
            f"expected the URL of a collector, such as http://localhost:4318, got "
            f"{masked(tracing.endpoint or '')!r}"
        )
        yield Problem.at("tracing.endpoint", reason)


def _has_opentelemetry() -> bool:
    try:
        return find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:
        return False


def _model_problems(config: Config, model: Model, path: str) -> Problems:
    stores = [store.id for store in config.datastores]
    if model.datastore is not None and model.datastore not in stores:
        hint = nearest(model.datastore, stores, "it must be in datastores")
        reason = f"no datastore {model.datastore!r}; {hint}"
        yield Problem.at(f"{path}.datastore", reason)
    else:
        requirement = _unmet_requirement(model.coalesce, config.datastore_of(model))
        if requirement:
            reason = f"{model.coalesce} needs {requirement}"
            yield Problem.at(f"{path}.coalesce", reason)
    yield from chain(_input_problems(model, path), _key_problems(model, path))
    yield from _signature_problems(model, path)
    if model.transformer and (model.batch.runs or 1) > 1:
        reason = "a transformer takes the interpreter: expected 1, or no transformer"
        yield Problem.at(f"{path}.batch.runs", reason)


def _signature_problems(model: Model, path: str) -> Problems:
    if isinstance(model.signatures, str):
        return
    names = [model.signature or _DEFAULT_SIGNATURE, *model.signatures]
    for i, name in enumerate(model.signatures):
        if name in names[: i + 1]:
            reason = f"{name!r} is served already"
            yield Problem.at(f"{path}.signatures[{i}]", reason)


def _unmet_requirement(coalesce: str, store: Datastore | None) -> str | None:
    """Return what a way to coalesce needs and the datastore lacks; None: nothing."""
    if coalesce == "host" and (store is None or not store.memory_mb):
        return "a datastore with memory_mb"
    if coalesce == "fleet" and (store is None or not store.tiers):
        return "a datastore with tiers"
    if coalesce == "fleet" and store and store.tiers[0].read_only:
        return "the nearest tier not to be read_only"
    return None


def _input_problems(model: Model, path: str) -> Problems:
    names = [given.name for given in model.inputs]
    for i, given in enumerate(model.inputs):
        where = f"{path}.inputs[{i}]"
        if given.name in names[:i]:
            yield Problem.at(where, f"input {given.name!r} is given more than once")
        options = {
            "precision": given.precision is not None,
            "wildcard": given.wildcard,
            "auxiliary": given.auxiliary,
        }
        chosen = [name for name, is_set in options.items() if is_set]
        if given.missing and given.auxiliary:
            reason = "an auxiliary input may be null anyway; remove one of the two"
            yield Problem.at(f"{where}.missing", reason)
        elif given.rename and given.auxiliary:
            yield Problem.at(where, "an auxiliary input cannot be renamed")
        elif len(chosen) > 1 or not (chosen or given.missing or given.rename):
            expected = "expected one of precision, wildcard and auxiliary, or missing"
            expected += " or rename"
            yield Problem.at(where, f"{expected}, got {' and '.join(chosen) or 'none'}")


def _key_problems(model: Model, path: str) -> Problems:
    for i, name in enumerate(model.key_fields):
        if name in model.key_fields[:i]:
            where = f"{path}.key_fields[{i}]"
            yield Problem.at(where, f"{name!r} is given more than once")


def _store_problems(store: Datastore, connections: list[str], path: str) -> Problems:
    if not store.memory_mb and not store.tiers:
        yield Problem.at(path, "expected memory_mb above 0 or tiers, got neither")
    names = [tier.connection for tier in store.tiers]
    for i, name in enumerate(names):
        where = f"{path}.tiers[{i}].connection"
        if name not in connections:
            hint = nearest(name, connections, "it must be in connections")
            yield Problem.at(where, f"no connection {name!r}; {hint}")
        elif name in names[:i]:
            yield Problem.at(where, f"{name!r} is a tier of this datastore already")


def _connection_problems(connection: Connection, path: str) -> Problems:
    try:
        address = parse(connection.url)
    except ValueError as error:
        yield Problem.at(f"{path}.url", str(error))
        return
    if connection.password is not None and connection.password_file is not None:
        reason = "there is a password already; give one of the two"
        yield Problem.at(f"{path}.password_file", reason)
    if connection.key_file is not None and connection.cert_file is None:
        yield Problem.at(f"{path}.key_file", "expected a cert_file with it")
    for name in ("ca_file", "cert_file"):
        if getattr(connection, name) is not None and not address.tls:
            yield Problem.at(f"{path}.{name}", "only rediss:// urls use it")


def _endpoint_problems(endpoint: Endpoint) -> Problems:
    yield from _network_problems(endpoint)
    if endpoint.tls:
        yield from _tls_problems(endpoint.tls, "endpoint.tls")
    if endpoint.cors:
        yield from _cors_problems(endpoint.cors, "endpoint.cors")


def _network_problems(endpoint: Endpoint) -> Problems:
    lists = {"endpoint.trusted_proxies": endpoint.trusted_proxies}
    if endpoint.admin:
        lists["endpoint.admin.allow"] = endpoint.admin.allow
    for path, networks in lists.items():
        for i, one in enumerate(networks):
            try:
                network_of(one)
            except ValueError:
                reason = f"expected an address or CIDR, got {one!r}"
                yield Problem.at(f"{path}[{i}]", reason)


def _cors_problems(cors: Cors, path: str) -> Problems:
    for i, origin in enumerate(cors.origins):
        if not _is_origin(origin):
            reason = f'expected "*" or one such as https://shop.example, got {origin!r}'
            yield Problem.at(f"{path}.origins[{i}]", reason)
    for i, name in enumerate(cors.headers):
        if not _is_header(name):
            reason = f"expected the name of a header, got {name!r}"
            yield Problem.at(f"{path}.headers[{i}]", reason)


def _tls_problems(tls: Tls, path: str) -> Problems:
    requests_certificates = tls.client_certificate != "none"
    if requests_certificates and tls.client_ca is None:
        reason = f"{tls.client_certificate} needs a client_ca"
        yield Problem.at(f"{path}.client_certificate", reason)
    if not requests_certificates and tls.client_ca is not None:
        reason = (
            "no client certificates are requested; expected "
            "client_certificate: optional or required"
        )
        yield Problem.at(f"{path}.client_ca", reason)


def _encoding_problems(config: Config) -> Problems:
    """Yield what cannot be written as JSON, the form in which workers get a config."""
    try:
        msgspec.json.encode(config)
    except (TypeError, ValueError) as error:
        yield Problem("", f"cannot be written as JSON: {error}")
