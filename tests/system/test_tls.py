"""The endpoint's files: what is wrong with them is told, what is sound is used."""

import asyncio
import ssl
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from gomlx.config.schema import Tls, load, masked_config
from gomlx.config.tls import load as load_tls
from gomlx.errors import ConfigInvalid
from gomlx.server.http.certificates import Certificates
from tests.cli.test_cli import gomlx
from tests.support.certificates import Endpoint

PAST = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def files(tmp_path: Path) -> Endpoint:
    return Endpoint(tmp_path / "tls")


def shaken(server: ssl.SSLContext, client: ssl.SSLContext) -> ssl.SSLObject:
    """Shake hands in memory, and return the client's side. Raises SSLError."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        client.wrap_bio(back, there, server_hostname="localhost"),
        server.wrap_bio(there, back, server_side=True),
    ]
    for side in sides * 3:
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return sides[0]


def serial(server: ssl.SSLContext, client: ssl.SSLContext) -> str:
    """The number of the certificate that a new connection is shown."""
    shown = shaken(server, client).getpeercert()
    assert shown
    number = shown["serialNumber"]
    assert isinstance(number, str)
    return number


def encrypted(files: Endpoint) -> None:
    command = ["openssl", "ec", "-aes256", "-passout", "pass:swordfish"]
    files_ = ["-in", str(files.key), "-out", str(files.key)]
    subprocess.run([*command, *files_], check=True, capture_output=True, timeout=30)


@pytest.mark.parametrize(
    ("what", "problem"),
    [
        ("no certificate", "certificate: {}.pem: No such file"),
        ("no key", "key: {}.key: No such file"),
        ("no authority", "client_ca: {}.none: No such file"),
        ("half a certificate", "certificate: {}.pem: expected certificates in PEM"),
        ("half a key", "key: {}.key: expected a private key in PEM form"),
        ("no certificates", "client_ca: {}.key: expected certificates in PEM form"),
        ("mismatch", "key: {}.key: is not the key of the certificate, {}.pem"),
        ("encrypted", "key: {}.key: is encrypted: set key_password"),
        ("password", "key: {}.key: key_password does not open it"),
    ],
)
def test_what_is_wrong_is_told(files: Endpoint, what: str, problem: str) -> None:
    options: dict[str, Any] = {}
    at = str(files.certificate).removesuffix(".pem")
    if what == "no certificate":
        files.certificate.unlink()
    elif what == "no key":
        files.key.unlink()
    elif what.startswith("half"):
        path = files.key if "key" in what else files.certificate
        path.write_text(path.read_text()[:150])
    elif what in ("no authority", "no certificates"):
        authority = f"{at}.none" if what == "no authority" else str(files.key)
        options = {"client_ca": authority, "client_certificate": "required"}
    elif what == "mismatch":
        old = files.certificate.read_bytes()
        files.issue()
        files.certificate.write_bytes(old)
    else:
        encrypted(files)
        options = {"key_password": "hunter2"} if what == "password" else {}
    with pytest.raises(ConfigInvalid) as caught:
        load_tls(Tls(**files.config(**options)))
    assert problem.format(at, at) in str(caught.value)


def test_one_file_may_hold_both_and_a_key_may_be_encrypted(files: Endpoint) -> None:
    encrypted(files)
    files.certificate.write_text(files.certificate.read_text() + files.key.read_text())
    loaded = load_tls(Tls(certificate=str(files.certificate), key_password="swordfish"))
    assert shaken(loaded.context, files.trust()).version() == "TLSv1.3"


def test_versions_and_protocols(files: Endpoint) -> None:
    old = files.trust(False, "http/1.1", "h2")
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    context = load_tls(Tls(**files.config())).context
    client = shaken(context, old)
    assert (client.version(), client.selected_alpn_protocol()) == ("TLSv1.2", "h2")
    assert shaken(context, files.trust(False)).selected_alpn_protocol() is None
    strict = load_tls(Tls(**files.config(minimum_version="1.3"))).context
    with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
        shaken(strict, old)


def test_who_is_asked_for_a_certificate(files: Endpoint, tmp_path: Path) -> None:
    other = Endpoint(tmp_path / "other")
    stranger = files.trust(False)
    stranger.load_cert_chain(other.client)
    mine = {"client_ca": str(files.ca)}
    asks = {
        one: load_tls(Tls(**files.config(client_certificate=one, **mine))).context
        for one in ("optional", "required")
    }
    asks["none"] = load_tls(Tls(**files.config())).context
    for one, context in asks.items():
        shaken(context, files.trust())
        if one == "required":
            with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN"):
                shaken(context, files.trust(False))
        else:
            shaken(context, files.trust(False))
        if one == "none":
            shaken(context, stranger)
        else:
            with pytest.raises(ssl.SSLError, match="VERIFY_FAILED"):
                shaken(context, stranger)


async def until_logged(caplog: pytest.LogCaptureFixture, text: str) -> None:
    async with asyncio.timeout(60):
        while text not in caplog.text:
            await asyncio.sleep(0.005)
    caplog.clear()


@pytest.mark.asyncio
async def test_files_that_change_are_loaded_when_they_are_sound(
    files: Endpoint, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    mine = {"client_ca": str(files.ca), "client_certificate": "required"}
    certificates = Certificates(Tls(**files.config(**mine)))
    context, client = certificates.options["ssl"], files.trust()
    first = serial(context, client)
    files.issue()  # before the worker was started
    following = asyncio.create_task(certificates.follow(0.01))
    await until_logged(caplog, "valid until 3000-01-01")
    second = serial(context, client)
    files.certificate.write_text(files.certificate.read_text()[:300])
    await until_logged(caplog, "the certificate in use stays")
    assert certificates.detail()["problem"].startswith("endpoint.tls: certificate: ")
    files.certificate.unlink()
    await until_logged(caplog, "No such file")
    assert serial(context, client) == second
    files.issue(not_after=PAST)
    await until_logged(caplog, "the certificate has expired")
    assert certificates.detail()["certificate_expires"] == "2020-01-01T00:00:00Z"
    files.issue()
    await until_logged(caplog, "valid until 3000-01-01")
    assert certificates.problem is None
    assert len({first, second, serial(context, client)}) == 3
    files.ca.write_bytes(Endpoint(tmp_path / "other").ca.read_bytes())
    await until_logged(caplog, "valid until 3000-01-01")
    with pytest.raises(ssl.SSLError, match="VERIFY_FAILED"):
        shaken(context, client)
    following.cancel()


def config(folder: Path, tls: dict[str, Any]) -> Path:
    path = folder / "config.yaml"
    endpoint = {"port": 0, "tls": tls}
    document = {"endpoint": endpoint, "models": [{"id": "m", "url": "s3://b/m"}]}
    path.write_text(yaml.safe_dump(document))
    return path


def test_check_tries_the_files(files: Endpoint, tmp_path: Path) -> None:
    given = {"certificate": "tls/server.pem", "key": "tls/server.key"}
    config(tmp_path, given)
    done = gomlx("check", "config.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "certificate expires 3000-01-01" in done.stdout
    files.issue(not_after=PAST)
    done = gomlx("check", "config.yaml", "--json", cwd=tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, "[]")
    assert "warning: the certificate has expired" in done.stderr
    files.key.unlink()
    for command in (["check"], ["serve", "-c"]):
        done = gomlx(*command, "config.yaml", cwd=tmp_path)
        assert done.returncode == 2
        assert "endpoint.tls: key: " in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("tls", "problem"),
    [
        ({"certificate": "a", "cert": "b"}, "tls.cert: unknown key; did you mean"),
        ({"key": "a"}, "endpoint.tls.certificate: missing"),
        ({"certificate": 7}, "endpoint.tls.certificate: expected `str`"),
        (["secret"], "endpoint.tls: expected keys and values, got a list"),
        ("secret.pem", "endpoint.tls: expected keys and values, got 'secret.pem'"),
        (
            {"certificate": "a", "minimum_version": "1.1"},
            "endpoint.tls.minimum_version: expected one of 1.2, 1.3, got '1.1'",
        ),
        (
            {"certificate": "a", "client_certificate": "required"},
            "endpoint.tls.client_certificate: required needs a client_ca",
        ),
        (
            {"certificate": "a", "client_ca": "b"},
            "endpoint.tls.client_ca: nobody is asked for a certificate",
        ),
        (
            {"certificate": "a", "key_password": ["secret"]},
            "endpoint.tls.key_password: expected `str | null`, got `array`, got ***",
        ),
    ],
)
def test_what_contradicts_itself_is_refused(
    tmp_path: Path, tls: Any, problem: str
) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        load(config(tmp_path, tls))
    assert problem in str(caught.value)


def test_the_password_of_the_key_is_masked(tmp_path: Path) -> None:
    path = config(tmp_path, {"certificate": "a", "key_password": "swordfish"})
    shown = masked_config(load(path))["endpoint"]["tls"]
    assert shown["key_password"] == "***"
    assert shown["certificate"] == str(tmp_path / "a")
