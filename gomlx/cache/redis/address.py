"""URL → the address of a Redis server, a Sentinel's master or a cluster."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple
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
AddressKind = Literal["server", "unix", "sentinel", "cluster"]
_QUERIES = {"unix": {"db"}, "sentinel": {"sentinel_username", "sentinel_password"}}


@dataclass(frozen=True)
class Address:
    """Where to connect to, and as whom. Passwords are not in its repr."""

    kind: AddressKind
    tls: bool
    hosts: tuple[tuple[str, int], ...] = ()  # one if kind is "server"
    path: str = ""  # of a unix socket
    master: str = ""  # the name a Sentinel knows it by
    database: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)


def parse(url: str) -> Address:
    """Parse a URL. Raises ValueError, whose text holds nothing of the URL."""
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
    place = _PLACES[kind](split.path, query)
    return Address(
        kind=kind,
        tls=scheme.startswith("rediss"),
        hosts=_hosts(kind, hosts),
        path=place.path,
        master=place.master,
        database=place.database,
        username=unquote(username) or None,
        password=unquote(password) or None,
        sentinel_username=query.get("sentinel_username"),
        sentinel_password=query.get("sentinel_password"),
    )


def _kind(scheme: str) -> AddressKind:
    if scheme.endswith("+sentinel"):
        return "sentinel"
    if scheme.endswith("+cluster"):
        return "cluster"
    return "unix" if scheme == "unix" else "server"


class _Place(NamedTuple):
    """What stands behind a url's hosts."""

    path: str = ""  # of a socket
    master: str = ""
    database: int = 0


def _place_of_socket(path: str, query: Mapping[str, str]) -> _Place:
    if path in ("", "/"):
        raise ValueError
    return _Place(path=unquote(path), database=int(query.get("db") or 0))


def _place_of_server(path: str, _: Mapping[str, str]) -> _Place:
    return _Place(database=_database(_segments(path)))


def _place_of_master(path: str, _: Mapping[str, str]) -> _Place:
    master, *rest = _segments(path) or [""]
    if not master:
        raise ValueError
    return _Place(master=unquote(master), database=_database(rest))


def _place_of_cluster(path: str, _: Mapping[str, str]) -> _Place:
    if _segments(path) not in ([], ["0"]):  # a cluster has one database
        raise ValueError
    return _Place()


_PLACES: dict[AddressKind, Callable[[str, Mapping[str, str]], _Place]] = {
    "unix": _place_of_socket,
    "server": _place_of_server,
    "sentinel": _place_of_master,
    "cluster": _place_of_cluster,
}


def _segments(path: str) -> list[str]:
    stripped = path.strip("/")
    return stripped.split("/") if stripped else []


def _database(segments: Sequence[str]) -> int:
    """Return the number that may be a path's last segment."""
    if not segments:
        return 0
    (number,) = segments  # raises ValueError for more
    if not number.isascii() or not number.isdigit():
        raise ValueError
    return int(number)


def _hosts(kind: AddressKind, netloc: str) -> tuple[tuple[str, int], ...]:
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
