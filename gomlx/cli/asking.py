"""What commands that ask a service share: the client, words → values → JSON."""

import base64
import math
from collections.abc import Sequence
from dataclasses import fields
from typing import Annotated, Any

import orjson
import typer

from gomlx.cli.terminal import wrong
from gomlx.client.answer import Answer
from gomlx.client.client import Client
from gomlx.client.network.hosts import address
from gomlx.client.options import Options
from gomlx.contract.document import Contract
from gomlx.contract.tensor import Tensor, json_excerpt
from gomlx.errors import BadResponse, InvalidInput

Host = Annotated[
    str,
    typer.Option("--host", envvar="GOMLX_HOST", help="URLs of hosts, with commas."),
]
Redis = Annotated[
    str | None,
    typer.Option(help="URL of the service's Redis, if it may be read from here."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        metavar="NAME=VALUE",
        help="A field of gomlx.Options: ca_file, http2, ttl_seconds, …",
    ),
]
_BOOLS = {"true": True, "1": True, "t": True, "false": False, "0": False, "f": False}


def options(settings: Sequence[str] | None, **values: Any) -> Options:
    """Return a client's options, from words; values where nothing is said."""
    types = {field.name: field.type for field in fields(Options)}
    for name, text in pairs(settings or ()).items():
        if name not in types:
            raise wrong(f"no option {name!r}; there are: {', '.join(types)}")
        try:
            values[name] = _option(types[name], text)
        except (KeyError, ValueError):
            raise wrong(f"option {name}: cannot be {text!r}") from None
    try:
        return Options(**values)
    except ValueError as error:
        raise wrong(str(error)) from None


def client_of(model: str, host: str, redis: str | None, options: Options) -> Client:
    """Return a client of the hosts that a user has named."""
    return Client(model, hosts_of(host), redis=redis, options=options)


def hosts_of(host: str) -> list[str]:
    """Return the URLs that a user has named."""
    hosts = [url.strip() for url in host.split(",") if url.strip()]
    if not hosts:
        raise wrong("--host: expected a URL, or some with commas between them")
    try:
        return list(map(address, hosts))
    except ValueError as error:
        raise wrong(f"--host: {error}") from None


def pairs(words: Sequence[str]) -> dict[str, str]:
    """Return what words like `carrier=UA` say."""
    found: dict[str, str] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise wrong(f"expected NAME=VALUE, got {word!r}")
        if name in found:
            raise wrong(f"{name} is given twice")
        found[name] = text
    return found


def known(client: Client) -> Contract:
    """Return what the started client knows of its model."""
    contract = client.contract
    assert contract is not None
    return contract


def read(tensor: Tensor, text: str) -> Any:
    """Return the value that a text stands for, by the input's type.

    Text inputs take it as it is; inputs of more than one element take JSON. Raises
    InvalidInput.
    """
    try:
        if not tensor.is_scalar:
            return orjson.loads(text)
        if tensor.dtype == "bool":
            return _BOOLS[text.strip().lower()]
        if "float" in tensor.dtype:
            return float(text)
        return int(text) if "int" in tensor.dtype else text
    except (ValueError, KeyError):
        reason = f"expected {tensor.expected}, got {json_excerpt(text)}"
        raise InvalidInput(reason, tensor.name) from None


def output_names(contract: Contract) -> list[str]:
    """Return the columns of a model's answers; what a transformer makes is one."""
    if contract.transforms:
        return ["answer"]
    return [tensor.name for tensor in contract.signature.outputs]


def outputs(answer: Answer, contract: Contract) -> list[Any]:
    """Return an answer's values, a column each, as JSON can hold them.

    Raises BadResponse when a new version has other outputs.
    """
    if contract.transforms:
        return [to_json(dict(answer))]
    try:
        return [to_json(answer[tensor.name]) for tensor in contract.signature.outputs]
    except KeyError as error:
        raise BadResponse(f"a new version of the model has no output {error}") from None


def to_json(value: Any) -> Any:
    """Return what a service would write: non-finite floats as words, bytes as b64."""
    if isinstance(value, float) and not math.isfinite(value):
        infinity = "Infinity" if value > 0 else "-Infinity"
        return "NaN" if math.isnan(value) else infinity
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    if isinstance(value, dict):
        return {name: to_json(one) for name, one in value.items()}
    return [to_json(one) for one in value] if isinstance(value, list) else value


def _option(kind: Any, text: str) -> Any:
    if kind is bool:
        return _BOOLS[text.lower()]
    return kind(text) if kind in (int, float) else text
