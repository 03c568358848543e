"""URL → the address of a Redis, of a Sentinel's master or of a cluster."""

from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit

FORMS = {
    "redis": "redis://host:6379/0",
    "rediss": "rediss://host:6379/0",
    "unix": "unix:///path.sock?db=0",
    "redis+sentinel": "redis+sentinel://host:26379,host:26379/MASTER/0",
    "rediss+sentinel": "rediss+sentinel://host:26379,host:26379/MASTER/0",
    "redis+cluster": "redis+cluster://host:6379,host:6379",
    "rediss+cluster": "rediss+cluster://host:6379,host:6379",
}
Kind = Literal["server", "unix", "sentinel", "cluster"]
_QUERIES = {"unix": {"db"}, "sentinel": {"sentinel_username", "sentinel_password"}}


@dataclass(frozen=True)
class Address:
    """Where to connect to, and as whom. Passwords are not in its repr."""

    kind: Kind
    tls: bool
    hosts: tuple[tuple[str, int], ...] = ()  # a server's is one
    path: str = ""  # of a unix socket
    master: str = ""  # the name a Sentinel knows it by
    database: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)


def parse(url: str) -> Address:
    """Take a URL apart. Raises ValueError, whose text holds nothing of the URL."""
    scheme, separator, _ = url.partition("://")
    if scheme not in FORMS or not separator:
        *most, last = (f"{form}://" for form in FORMS)
        raise ValueError(f"expected a url that begins with {', '.join(most)} or {last}")
    try:
        return _parsed(scheme, url)
    except ValueError:
        raise ValueError(f"expected a url such as {FORMS[scheme]}") from None


def _parsed(scheme: str, url: str) -> Address:
    split = urlsplit(url)
    if split.fragment or url.split() != [url]:
        raise ValueError
    kind = _kind(scheme)
    query = dict(parse_qsl(split.query, strict_parsing=bool(split.query)))
    if not query.keys() <= _QUERIES.get(kind, set()):
        raise ValueError
    login, _, hosts = split.netloc.rpartition("@")
    username, _, password = login.partition(":")
    path, master, database = _located(kind, split.path, query.get("db", ""))
    return Address(
        kind=kind,
        tls=scheme.startswith("rediss"),
        hosts=_hosts(kind, hosts),
        path=path,
        master=master,
        database=database,
        username=unquote(username) or None,
        password=unquote(password) or None,
        sentinel_username=query.get("sentinel_username"),
        sentinel_password=query.get("sentinel_password"),
    )


def _kind(scheme: str) -> Kind:
    if scheme.endswith("+sentinel"):
        return "sentinel"
    if scheme.endswith("+cluster"):
        return "cluster"
    return "unix" if scheme == "unix" else "server"


def _located(kind: Kind, path: str, database: str) -> tuple[str, str, int]:
    """Return a url's path as (path of a socket, name of a master, database)."""
    master = ""
    if kind == "unix":
        if path in ("", "/"):
            raise ValueError
        return unquote(path), "", int(database or 0)
    parts = path.strip("/").split("/") if path.strip("/") else []
    if kind == "sentinel":
        master = unquote(parts.pop(0)) if parts else ""
        if not master:
            raise ValueError
    database = parts.pop(0) if parts else "0"
    if parts or not database.isascii() or not database.isdigit():
        raise ValueError
    if kind == "cluster" and database != "0":  # a cluster has no others
        raise ValueError
    return "", master, int(database)


def _hosts(kind: Kind, netloc: str) -> tuple[tuple[str, int], ...]:
    if kind == "unix":
        if netloc:
            raise ValueError
        return ()
    default = 26379 if kind == "sentinel" else 6379
    hosts = tuple(_host(one, default) for one in netloc.split(","))
    if kind == "server" and len(hosts) > 1:
        raise ValueError
    return hosts


def _host(text: str, default: int) -> tuple[str, int]:
    split = urlsplit(f"//{text}")
    if not split.hostname or "@" in text:
        raise ValueError
    return split.hostname, default if split.port is None else split.port
