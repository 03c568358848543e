"""The options of the commands that use a client, and the client that they describe."""

import os
from collections.abc import Sequence
from dataclasses import fields
from typing import Annotated, Any

import typer

from gomlx.cli.terminal import usage_error
from gomlx.cli.values import parse_bool, parse_pairs
from gomlx.client.client import Client
from gomlx.client.network.hosts import address
from gomlx.client.options import Options
from gomlx.contract.document import Contract

_TOKEN = "GOMLX_TOKEN"
ModelId = Annotated[str, typer.Argument(help="The id of the model.")]
HostUrls = Annotated[
    str,
    typer.Option(
        "--host",
        envvar="GOMLX_HOST",
        help="The URLs of the service's hosts, separated by commas.",
    ),
]
RedisUrl = Annotated[
    str | None,
    typer.Option(
        help="The URL of the service's Redis, to read answers from it directly."
    ),
]
OptionPairs = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        metavar="NAME=VALUE",
        help="A field of gomlx.Options: ca_file, token_file, http2, ttl_seconds, …",
    ),
]


def client_options(pairs: Sequence[str] | None, **defaults: Any) -> Options:
    """Return a client's options from NAME=VALUE pairs; defaults for all others.

    Raises typer.Exit, after printing the problem.
    """
    types = {field.name: field.type for field in fields(Options)}
    values = defaults
    if token := os.environ.get(_TOKEN):  # an argument could be seen by other users
        values["token"] = token
    for name, text in parse_pairs(pairs or ()).items():
        if name not in types:
            raise usage_error(f"no option {name!r}; there are: {', '.join(types)}")
        try:
            values[name] = _option_value(types[name], text)
            if name == "token_file":
                values.pop("token", None)  # of the environment
        except (KeyError, ValueError):
            raise usage_error(f"option {name}: cannot be {text!r}") from None
    try:
        return Options(**values)
    except ValueError as error:
        raise usage_error(str(error)) from None


def make_client(
    model: str,
    hosts: str,
    redis: str | None,
    options: Options,
    signature: str | None = None,
) -> Client:
    """Return a client that is not yet started.

    Raises typer.Exit, after printing the problem, for a host that is not a URL.
    """
    return Client(
        model, host_urls(hosts), redis=redis, options=options, signature=signature
    )


def host_urls(text: str) -> list[str]:
    """Return the URLs of a list with commas.

    Raises typer.Exit, after printing the problem, if a host is not a URL.
    """
    urls = [url.strip() for url in text.split(",") if url.strip()]
    if not urls:
        raise usage_error("--host: expected a URL, or several separated by commas")
    try:
        return list(map(address, urls))
    except ValueError as error:
        raise usage_error(f"--host: {error}") from None


def contract_of(client: Client) -> Contract:
    """Return the contract of a started client's model."""
    contract = client.contract
    assert contract is not None
    return contract


def _option_value(kind: Any, text: str) -> Any:
    if kind is bool:
        return parse_bool(text)
    return kind(text) if kind in (int, float) else text
