"""Requests as HTTP allows them: raw bytes to a whole service, on both protocols."""

import gzip
import json
import re
import socket
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import h2.config
import h2.connection
import h2.events
import pytest

from tests.server.duplex import connected
from tests.support import saved_models
from tests.support.service import Service, running

EVAL = "/v1/api/model/m/eval"
BODY = b'{"x":1}'
LIMIT = 20_000
SHOP = "https://shop.example"
LIVE = b"GET /livez HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("requests")
    broken = folder / "broken"
    broken.mkdir()
    (broken / "saved_model.pb").write_bytes(b"not a graph")
    url = str(saved_models.scale(folder / "scale", 2.0))
    config = {
        "endpoint": {
            "max_body_bytes": LIMIT,
            "max_header_bytes": 2048,
            "receive_seconds": 2,
            "cors": {"origins": [SHOP], "headers": ["X-Request-Id"]},
        },
        "models": [
            {"id": "m", "url": url},
            {"id": "my.model", "url": url},
            {"id": "broken", "url": str(broken)},
            {"id": "absent", "url": str(folder / "nothing-here")},
        ],
    }
    with running(folder, config) as one:
        yield one


class Reply(NamedTuple):
    """A response; names of headers in lower case, several values of one joined."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)


Ask = Callable[..., Reply]  # method, target, headers, body


def talk(service: Service, *parts: bytes) -> bytes:
    """Send bytes to the service, and return all that it sends until it closes."""
    with connected(service.url, None) as connection:
        for part in parts:
            connection.sendall(part)
        return connection.makefile("rb").read()


def reply_of(text: bytes, has_body: bool = True) -> Reply:
    """Return the first response of some bytes, and check that they end with it."""
    head, _, rest = text.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers: dict[str, str] = {}
    for line in lines:
        name, value = line.split(": ", 1)
        known = headers.get(name.lower())
        headers[name.lower()] = f"{known}, {value}" if known else value
    if headers.get("transfer-encoding") == "chunked":
        return Reply(int(first.split()[1]), headers, rest)
    size = int(headers.get("content-length", 0)) if has_body else 0
    assert rest[size:] == b""
    return Reply(int(first.split()[1]), headers, rest[:size])


@pytest.fixture(params=["HTTP/1.1", "HTTP/2"])
def ask(service: Service, request: pytest.FixtureRequest) -> Ask:
    """Send one request on a connection of its own, over either protocol."""
    over = {"HTTP/1.1": over_http_1, "HTTP/2": over_http_2}[request.param]

    def send(method: str, target: str, body: bytes = b"", **headers: str) -> Reply:
        pairs = [(name.replace("_", "-"), value) for name, value in headers.items()]
        return over(service, method, target, body, pairs)

    return send


def over_http_1(
    service: Service,
    method: str,
    target: str,
    body: bytes,
    headers: list[tuple[str, str]],
) -> Reply:
    length = [("content-length", str(len(body)))] if body else []
    pairs = [("host", "h"), ("connection", "close"), *length, *headers]
    lines = [f"{method} {target} HTTP/1.1", *(f"{n}: {v}" for n, v in pairs), "", ""]
    text = talk(service, "\r\n".join(lines).encode() + body)
    return reply_of(text, method != "HEAD")


def over_http_2(
    service: Service,
    method: str,
    target: str,
    body: bytes,
    headers: list[tuple[str, str]],
) -> Reply:
    pseudo = {"method": method, "path": target, "scheme": "http", "authority": "h"}
    config = h2.config.H2Configuration(header_encoding="utf-8")
    one = h2.connection.H2Connection(config)
    one.initiate_connection()
    pairs = [(f":{name}", value) for name, value in pseudo.items()]
    one.send_headers(1, [*pairs, *headers], end_stream=not body)
    if body:
        one.send_data(1, body[:16384])
        one.send_data(1, body[16384:], end_stream=True)
    with connected(service.url, None) as connection:
        connection.sendall(one.data_to_send())
        return _http_2_reply(one, connection)


def _http_2_reply(one: h2.connection.H2Connection, connection: socket.socket) -> Reply:
    found: dict[str, str] = {}
    text = b""
    while data := connection.recv(65536):
        for event in one.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                for name, value in event.headers or ():
                    known = found.get(str(name))
                    both = (known, str(value)) if known else (str(value),)
                    found[str(name)] = ", ".join(both)
            elif isinstance(event, h2.events.DataReceived):
                text += event.data or b""
            elif isinstance(event, h2.events.StreamEnded):
                return Reply(int(found[":status"]), found, text)
        connection.sendall(one.data_to_send())
    raise AssertionError("the connection was closed")


@pytest.mark.parametrize(("model", "may_pass"), [("broken", False), ("absent", True)])
def test_only_a_failure_that_may_pass_says_when_to_retry(
    service: Service, model: str, may_pass: bool
) -> None:
    response = service.post(model, {"x": 1})
    assert response.status_code == 503
    assert ("retry-after" in response.headers) == may_pass


# --- codings ---


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def with_dictionary(data: bytes) -> bytes:
    packer = zlib.compressobj(zdict=b"abc")
    return packer.compress(data) + packer.flush()


PACKED = {
    "900 members": ("gzip", gzip.compress(b"") * 900 + gzip.compress(BODY)),
    "gzip": ("gzip", gzip.compress(BODY)),
    "GZIP in capitals": ("GZIP", gzip.compress(BODY)),
    "x-gzip": ("x-gzip", gzip.compress(BODY)),
    "two members": ("gzip", gzip.compress(BODY[:3]) + gzip.compress(BODY[3:])),
    "deflate": ("deflate", zlib.compress(BODY)),
    "raw deflate": ("deflate", raw_deflate(BODY)),
    "identity": ("identity", BODY),
    "gzip, identity": ("gzip, identity", gzip.compress(BODY)),
    "at the limit": ("gzip", gzip.compress(BODY.ljust(LIMIT))),
    "many blocks": ("deflate", zlib.compress(BODY.ljust(LIMIT - 50), 0)),
}


@pytest.mark.parametrize("what", PACKED)
def test_a_packed_body(ask: Ask, what: str) -> None:
    coding, body = PACKED[what]
    reply = ask("POST", EVAL, body, content_encoding=coding)
    assert (reply.status, reply.document["data"]) == (200, {"y": 2.0})


WRONG = {
    "a dictionary": (
        "deflate",
        with_dictionary(BODY),
        400,
        "not valid deflate: ",
    ),
    "zeros behind gzip": (
        "gzip",
        gzip.compress(BODY) + b"\0" * 9,
        400,
        "not valid gzip",
    ),
    "too large": ("gzip", gzip.compress(BODY.ljust(LIMIT + 1)), 413, "20000 bytes"),
    "too large as it is": ("deflate", zlib.compress(BODY.ljust(LIMIT), 0), 413, "body"),
    "a bomb": ("deflate", zlib.compress(b" " * 10_000_000), 413, "20000 bytes"),
    "truncated": ("gzip", gzip.compress(BODY)[:-3], 400, "gzip: it ends too soon"),
    "empty": ("gzip", b"", 400, "gzip: it ends too soon"),
    "not gzip": ("gzip", BODY, 400, "not valid gzip: incorrect header check"),
    "a wrong checksum": (
        "gzip",
        gzip.compress(BODY)[:-8] + b"\0" * 8,
        400,
        "not valid gzip: incorrect data check",
    ),
    "more behind gzip": ("gzip", gzip.compress(BODY) + b"x", 400, "not valid gzip"),
    "more behind deflate": ("deflate", zlib.compress(BODY) + b"x", 400, "behind its"),
    "not deflate": ("deflate", b"\xff\xff", 400, "not valid deflate"),
    "br": ("br", BODY, 415, "'br' is not accepted here; send one of: gzip"),
    "two codings": ("gzip, gzip", gzip.compress(gzip.compress(BODY)), 415, "accepted"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_body_that_cannot_be_unpacked(ask: Ask, what: str) -> None:
    coding, body, status, message = WRONG[what]
    reply = ask("POST", EVAL, body, content_encoding=coding)
    assert reply.status == status
    assert message in reply.document["error"]
    accepted = "gzip, deflate, identity" if status == 415 else None
    assert reply.headers.get("accept-encoding") == accepted


def test_lines_of_a_stream_are_not_packed(ask: Ask) -> None:
    path = EVAL.replace("eval", "stream")
    reply = ask("POST", path, gzip.compress(BODY), content_encoding="gzip")
    assert reply.status == 415
    assert reply.headers["accept-encoding"] == "identity"
    assert ask("POST", path, BODY, content_encoding="identity").status == 200


# --- methods ---


@pytest.mark.parametrize(
    "target",
    [
        f"{EVAL}?x=1",
        f"{EVAL}?x=one",
        "/livez",
        "/readyz",
        "/v1/api/config",
        "/v1/api/model/m/meta/contract",
        "/v1/api/model/n/eval",
        "/nowhere",
    ],
)
def test_head_is_get_without_the_body(ask: Ask, target: str) -> None:
    get = ask("GET", target)
    head = ask("HEAD", target)
    assert head.body == b""
    assert head.status == get.status
    for varying in ("date", "server"):
        get.headers.pop(varying, None)
        head.headers.pop(varying, None)
    if "serviceTimeMcs" in get.body.decode():  # its digits vary
        assert head.headers.pop("content-length")
        get.headers.pop("content-length")
    assert head.headers == get.headers


def test_head_of_a_metric_has_no_body(ask: Ask) -> None:
    head = ask("HEAD", "/metrics")
    assert (head.status, head.body) == (200, b"")
    assert int(head.headers["content-length"]) > 1000


@pytest.mark.parametrize(
    ("target", "allow"),
    [
        (EVAL, "GET, HEAD, POST, OPTIONS"),
        (EVAL.replace("eval", "stream"), "POST, OPTIONS"),
        ("/livez", "GET, HEAD, OPTIONS"),
        ("*", "GET, HEAD, POST, OPTIONS"),
    ],
)
def test_options_and_a_wrong_method_name_the_right_ones(
    ask: Ask, target: str, allow: str
) -> None:
    reply = ask("OPTIONS", target)
    assert (reply.status, reply.body, reply.headers["allow"]) == (204, b"", allow)
    assert "content-length" not in reply.headers
    if target != "*":
        reply = ask("DELETE", target)
        assert (reply.status, reply.headers["allow"]) == (405, allow)


def test_options_of_nothing_is_a_404(ask: Ask) -> None:
    assert ask("OPTIONS", "/nowhere").status == 404


def test_a_web_socket_is_refused(service: Service) -> None:
    lines = [
        "GET /livez HTTP/1.1",
        "Host: h",
        "Connection: upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "\r\n",
    ]
    text = talk(service, "\r\n".join(lines).encode())
    assert text.startswith(b"HTTP/1.1 403 ")


def test_a_connection_goes_on_after_head(service: Service) -> None:
    head = b"HEAD /livez HTTP/1.1\r\nHost: h\r\n\r\n"
    text = talk(service, head, head, LIVE)
    assert re.findall(rb"HTTP/1.1 (\d+)", text) == [b"200"] * 3
    assert text.count(b'{"live":true}') == 1


# --- CORS ---

PREFLIGHT = {"origin": SHOP, "access_control_request_method": "POST"}


def cors_of(reply: Reply) -> dict[str, str]:
    beginning = "access-control-"
    return {
        name.removeprefix(beginning): value
        for name, value in reply.headers.items()
        if name.startswith(beginning)
    }


def test_a_preflight_of_an_allowed_page(ask: Ask) -> None:
    reply = ask("OPTIONS", EVAL, **PREFLIGHT)
    assert reply.status == 204
    assert cors_of(reply) == {
        "allow-origin": SHOP,
        "allow-methods": "GET, HEAD, POST, OPTIONS",
        "allow-headers": "Authorization, Content-Encoding, Content-Type, "
        "If-None-Match, Request-Timeout-Ms, X-Request-Id",
        "max-age": "600",
    }
    assert "Origin" in reply.headers["vary"]


@pytest.mark.parametrize("target", [EVAL, "/livez", "/nowhere", f"{EVAL}?x=1"])
def test_a_page_may_read_answers_and_errors(ask: Ask, target: str) -> None:
    reply = ask("GET", target, origin=SHOP)
    assert cors_of(reply) == {
        "allow-origin": SHOP,
        "expose-headers": "Cache-Status, ETag, Gomlx-Version, Retry-After",
    }
    assert "Origin" in reply.headers["vary"]


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", f"{SHOP}.evil", f"{SHOP}, {SHOP}", "*"],
)
def test_another_page_may_not(ask: Ask, origin: str) -> None:
    reply = ask("GET", f"{EVAL}?x=1", origin=origin)
    assert reply.document["data"] == {"y": 2.0}
    assert not cors_of(reply)
    assert "Origin" in reply.headers["vary"]
    preflight = ask("OPTIONS", EVAL, **PREFLIGHT | {"origin": origin})
    assert (preflight.status, cors_of(preflight)) == (204, {})


def test_no_page_reads_the_config(ask: Ask) -> None:
    for target in ("/v1/api/config", "//v1/api/config", "/v1/api/%63onfig/"):
        reply = ask("GET", target, origin=SHOP)
        assert (reply.status, cors_of(reply)) == (200, {})
    assert not cors_of(ask("OPTIONS", "/v1/api/config/", **PREFLIGHT))


def test_a_cache_learns_that_answers_vary_from_each_of_them(ask: Ask) -> None:
    reply = ask("POST", EVAL, BODY)
    assert (reply.status, cors_of(reply), reply.headers["vary"]) == (200, {}, "Origin")


def test_any_page_may_read_answers_if_the_config_says_so(tmp_path: Path) -> None:
    config = {
        "endpoint": {"cors": {"origins": ["*"]}},
        "models": [{"id": "m", "url": str(saved_models.scale(tmp_path / "m", 2.0))}],
    }
    with running(tmp_path, config) as service:
        for over in (over_http_1, over_http_2):
            for pairs in ([], [("origin", "https://any.example")]):
                reply = over(service, "POST", EVAL, BODY, pairs)
                assert cors_of(reply)["allow-origin"] == "*"
                assert "vary" not in reply.headers
        assert len(service.states()) == 1  # the hot protocol's connection still counts


# --- targets and hosts ---

TARGETS = {
    "absolute": (f"http://h{EVAL}?x=1", 200),
    "absolute, in capitals": (f"HTTP://EXAMPLE.org:80{EVAL}?x=1", 200),
    "absolute, https": (f"https://[::1]:8{EVAL}?x=1", 200),
    "absolute, of no model": ("http://h/v1/api/model/n/eval?x=1", 404),
    "absolute, without a path": ("http://h", 404),
    "absolute, without a host": (f"http://{EVAL}?x=1", 400),
    "absolute, of a user": (f"http://me@h{EVAL}?x=1", 400),
    "another scheme": (f"ftp://h{EVAL}?x=1", 400),
    "an escaped letter": (f"{EVAL.replace('/m/', '/%6d/')}?x=1", 200),
    "an escaped dot": (f"{EVAL.replace('/m/', '/my%2Emodel/')}?x=1", 200),
    "all escaped": ("/v1/%61pi/model/my%2emodel/%65val?x=1", 200),
    "an escaped slash": ("/v1/api/model%2Fm/eval?x=1", 404),
    "an escaped slash in an id": ("/v1/api/model/m%2feval?x=1", 404),
    "half an escape": ("/v1/api/model/%6/eval?x=1", 400),
    "no escape": ("/v1/api/model/%zz/eval?x=1", 400),
    "an escape at the end": ("/v1/api/model/m/eval%", 400),
    "not UTF-8": ("/v1/api/model/%ff/eval?x=1", 400),
    "twice escaped": ("/v1/api/model/%256d/eval?x=1", 404),
    "NUL": ("/v1/api/model/m%00/eval?x=1", 404),
}


@pytest.mark.parametrize("what", TARGETS)
def test_targets(service: Service, what: str) -> None:
    target, status = TARGETS[what]
    reply = over_http_1(service, "GET", target, b"", [])
    assert reply.status == status, reply
    assert (reply.status == 200) == ("data" in reply.document)


@pytest.mark.parametrize("what", [what for what in TARGETS if "abs" not in what])
def test_targets_of_http_2(service: Service, what: str) -> None:
    target, status = TARGETS[what]
    if target.startswith("/"):
        assert over_http_2(service, "GET", target, b"", []).status == status


def test_absolute_targets_have_bodies(service: Service) -> None:
    reply = over_http_1(service, "POST", f"http://other{EVAL}", BODY, [])
    assert reply.document["data"] == {"y": 2.0}


HOSTS = {
    "none": ([], 400),
    "two": (["h", "h"], 400),
    "a name": (["example.org"], 200),
    "a port": (["example.org:8080"], 200),
    "an address": (["[::1]:8080"], 200),
    "empty": ([""], 200),
    "with spaces": (["a b"], 400),
    "a path": (["h/x"], 400),
    "a list": (["a, b"], 400),
    "a user": (["me@h"], 400),
    "a wrong port": (["h:eight"], 400),
    "other bytes": (["\xff"], 400),
}


@pytest.mark.parametrize("what", HOSTS)
def test_hosts(service: Service, what: str) -> None:
    hosts, status = HOSTS[what]
    lines = [f"GET {EVAL}?x=1 HTTP/1.1", *(f"Host: {host}" for host in hosts)]
    text = "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1")
    assert reply_of(talk(service, text)).status == status


def test_http_1_0_needs_no_host(service: Service) -> None:
    text = f"GET {EVAL}?x=1 HTTP/1.0\r\n\r\n".encode()
    assert reply_of(talk(service, text)).status == 200


def test_the_connection_goes_on_after_a_missing_host(service: Service) -> None:
    text = talk(service, b"GET /livez HTTP/1.1\r\n\r\n" + LIVE)
    assert re.findall(rb"HTTP/1.1 (\d+)", text) == [b"400", b"200"]


# --- chunks ---

CHUNKED = (
    f"POST {EVAL} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"
    "Transfer-Encoding: chunked\r\n"
).encode()


def chunks(data: bytes, size: int, extension: bytes = b"") -> bytes:
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(b"%x%b\r\n%b\r\n" % (len(p), extension, p) for p in parts)


@pytest.mark.parametrize("coding", ["gzip, chunked", "deflate,chunked"])
def test_a_transfer_coding_beside_chunked_is_refused(
    service: Service, coding: str
) -> None:
    """Its chunks would be taken for the body as it is."""
    head = CHUNKED.replace(b": chunked", b": " + coding.encode())
    reply = reply_of(talk(service, head + b"\r\n" + chunks(BODY, 100) + b"0\r\n\r\n"))
    assert reply.status == 501
    assert b"Content-Encoding" in reply.body


CHUNKS = {
    "one": (chunks(BODY, 100) + b"0\r\n\r\n", 200, b"2.0"),
    "bytes": (chunks(BODY + b" " * 10_000, 1) + b"0\r\n\r\n", 200, b"2.0"),
    "trailers": (chunks(BODY, 3) + b"0\r\na: b\r\n\r\n", 200, b"2.0"),
    "extensions": (chunks(BODY, 3, b";a=b") + b"0\r\n\r\n", 200, b"2.0"),
    "at the limit": (chunks(BODY.ljust(LIMIT), 999) + b"0\r\n\r\n", 200, b"2.0"),
    "over the limit": (chunks(BODY.ljust(LIMIT + 1), 999), 413, b"20000"),
    "a huge chunk": (b"ffffffffffff\r\n" + b" " * (LIMIT + 1), 413, b"20000"),
    "large extensions": (chunks(BODY, 1, b";a=" + b"b" * 500), 431, b"too large"),
    "many trailers": (
        chunks(BODY, 9) + b"0\r\n" + b"a: %b\r\n" % (b"b" * 500) * 5,
        431,
        b"too large",
    ),
    "a negative size": (b"-7\r\n", 400, b""),
    "no line end": (b"7\r\n" + BODY + b"0\r\n\r\n", 400, b""),
    "a size with a sign": (b"+7\r\n", 400, b""),
    "a forbidden trailer": (
        chunks(BODY, 9) + b"0\r\ncontent-length: 1\r\n\r\n",
        400,
        b"",
    ),
}


@pytest.mark.parametrize("what", CHUNKS)
def test_chunks(service: Service, what: str) -> None:
    text, status, message = CHUNKS[what]
    with connected(service.url, None) as connection:
        connection.sendall(CHUNKED + b"\r\n")
        for at in range(0, len(text), 4000):
            try:
                connection.sendall(text[at : at + 4000])
            except ConnectionError:  # it has refused, and closed
                break
        found = connection.makefile("rb").read()
    reply = reply_of(found)
    assert reply.status == status, reply
    assert message in reply.body


def test_packed_chunks(service: Service) -> None:
    body = chunks(gzip.compress(BODY), 5) + b"0\r\n\r\n"
    text = talk(service, CHUNKED + b"Content-Encoding: gzip\r\n\r\n" + body)
    assert reply_of(text).document["data"] == {"y": 2.0}


@pytest.mark.parametrize(
    "text",
    [
        CHUNKED + b"\r\n7\r\n",
        CHUNKED + b"\r\n" + chunks(BODY, 9),
        CHUNKED + b"\r\n" + chunks(BODY, 9) + b"0\r\na",
        b"GET /livez HTTP/1.1\r\nHo",
        b"POST http://h/v1/api/model/m/eval HTTP/1.1\r\nHost: h\r\n"
        b"Content-Length: 9\r\n\r\n",
    ],
)
def test_what_does_not_arrive_in_time(service: Service, text: bytes) -> None:
    reply = reply_of(talk(service, text))
    assert reply.status == 408
    assert reply.headers["connection"].lower() == "close"


def test_a_head_over_the_limit_on_a_connection_that_was_handed_over(
    service: Service,
) -> None:
    head = b"GET /livez HTTP/1.1\r\nHost: h\r\n"
    large = b"".join(b"x-%d: %b\r\n" % (n, b"y" * 500) for n in range(5))
    text = talk(service, head + b"\r\n", head + large + b"\r\n")
    assert re.findall(rb"HTTP/1.1 (\d+)", text) == [b"200", b"431"]


def test_a_stream_may_last_as_long_as_it_likes(service: Service) -> None:
    """The limit on how long a request may arrive is not for streams."""
    head = CHUNKED.replace(b"/eval", b"/stream") + b"\r\n"
    line = chunks(BODY + b"\n", 99)
    with connected(service.url, None) as connection:
        connection.sendall(head + line)
        assert b"2.0" in connection.recv(65536)
        connection.settimeout(4)  # twice that
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(30)
        connection.sendall(line + b"0\r\n\r\n")
        assert b"2.0" in connection.makefile("rb").read()
