"""Whose request a trusted proxy passes on: Forwarded (RFC 7239), or X-Forwarded-For.

Each proxy adds its own peer at the end, so the list is read from there, and no
further than to the first address that is no trusted proxy's: what stands before it may
be made up.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

from gomlx.runtime.networks import Networks, address_of_text
from gomlx.server.access.caller import caller_of, with_caller

_FORWARDED = b"forwarded"
_FORWARDED_FOR = b"x-forwarded-for"
_MOST_PROXIES = 32  # of a list; what is before is not read

_Asgi = Callable[..., Awaitable[None]]


class BehindProxies:
    """An ASGI application that learns whose requests trusted proxies pass on."""

    def __init__(self, app: _Asgi, trusted: Networks) -> None:
        self._app = app
        self._trusted = trusted

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        caller = caller_of(scope)
        if not caller.address or caller.address in self._trusted:
            client = client_of(scope["headers"], self._trusted)
            if client:
                caller = caller._replace(client=client)
                scope = with_caller({**scope, "client": (client, 0)}, caller)
        await self._app(scope, receive, send)


def client_of(headers: Iterable[tuple[bytes, bytes]], trusted: Networks) -> str:
    """Return the address that a request's headers, sent by a proxy, name as its origin.

    "" if they name none, or what they name last is no address.
    """
    lines: dict[bytes, list[str]] = {_FORWARDED: [], _FORWARDED_FOR: []}
    for name, value in headers:
        if name in lines:
            lines[name].append(value.decode("latin-1"))
    if lines[_FORWARDED]:
        named = _for_of(",".join(lines[_FORWARDED]))
    else:
        named = _last_of(",".join(lines[_FORWARDED_FOR]))
    client = ""
    for text in named:
        address = address_of_text(_without_port(text))
        if address is None:
            return client
        client = str(address)
        if client not in trusted:
            return client
    return client


def _last_of(text: str) -> Iterator[str]:
    """Yield the elements of a list, the last first."""
    elements = text.rsplit(",", _MOST_PROXIES)[-_MOST_PROXIES:]
    return (element.strip() for element in reversed(elements))


def _for_of(text: str) -> Iterator[str]:
    """Yield the values of `for` of a list, the last first; "" where there is none."""
    for element in _last_of(text):
        pairs = (pair.strip().partition("=") for pair in element.split(";"))
        found = [value for name, _, value in pairs if name.lower() == "for"]
        yield found[0].strip('"') if len(found) == 1 else ""


def _without_port(text: str) -> str:
    """Return an address without its port, and without the brackets of IPv6."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text
