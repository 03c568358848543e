"""The TLS section of a config and its files: a context, or what is wrong with them."""

import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gomlx.config.load import load_config, masked_config
from gomlx.config.schema import Tls
from gomlx.config.tls import load_tls
from gomlx.errors import ConfigInvalid
from tests.config.conftest import write
from tests.support.certificates import Endpoint, handshake


@pytest.fixture
def files(tmp_path: Path) -> Endpoint:
    return Endpoint(tmp_path / "tls")


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
def test_each_invalid_file_is_named_with_its_reason(
    files: Endpoint, what: str, problem: str
) -> None:
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
    assert handshake(loaded.context, files.trust()).version() == "TLSv1.3"


def test_minimum_version_and_protocols(files: Endpoint) -> None:
    old = files.trust(False, "http/1.1", "h2")
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    context = load_tls(Tls(**files.config())).context
    client = handshake(context, old)
    assert (client.version(), client.selected_alpn_protocol()) == ("TLSv1.2", "h2")
    assert handshake(context, files.trust(False)).selected_alpn_protocol() is None
    strict = load_tls(Tls(**files.config(minimum_version="1.3"))).context
    with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
        handshake(strict, old)


def test_client_certificates_are_requested_as_configured(
    files: Endpoint, tmp_path: Path
) -> None:
    other = Endpoint(tmp_path / "other")
    stranger = files.trust(False)
    stranger.load_cert_chain(other.client)
    mine = {"client_ca": str(files.ca)}
    contexts = {
        one: load_tls(Tls(**files.config(client_certificate=one, **mine))).context
        for one in ("optional", "required")
    }
    contexts["none"] = load_tls(Tls(**files.config())).context
    for one, context in contexts.items():
        handshake(context, files.trust())
        if one == "required":
            with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN"):
                handshake(context, files.trust(False))
        else:
            handshake(context, files.trust(False))
        if one == "none":
            handshake(context, stranger)
        else:
            with pytest.raises(ssl.SSLError, match="VERIFY_FAILED"):
                handshake(context, stranger)


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
            "endpoint.tls.client_ca: no client certificates are requested",
        ),
        (
            {"certificate": "a", "key_password": ["secret"]},
            "endpoint.tls.key_password: expected `str | null`, got `array`, got ***",
        ),
    ],
)
def test_an_invalid_section_is_refused(tmp_path: Path, tls: Any, problem: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        load_config(write(tmp_path, endpoint={"tls": tls}))
    assert problem in str(caught.value)


def test_the_password_of_the_key_is_masked(tmp_path: Path) -> None:
    tls = {"certificate": "a", "key_password": "swordfish"}
    path = write(tmp_path, endpoint={"tls": tls})
    shown = masked_config(load_config(path))["endpoint"]["tls"]
    assert shown["key_password"] == "***"
    assert shown["certificate"] == "a"
