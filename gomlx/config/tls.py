"""The endpoint's TLS: the files of the config → an SSL context, or a problem."""

import _ssl
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from gomlx.config.schema import Tls
from gomlx.errors import ConfigInvalid

_PROTOCOLS = ("h2", "http/1.1")
# Of TLS 1.2 only what HTTP/2 admits (RFC 9113, appendix A).
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
_MINIMUM = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_VERIFY_MODES = {
    "none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}


class LoadedTls(NamedTuple):
    """An SSL context, and the validity of its certificate, in Unix times."""

    context: ssl.SSLContext
    begins: float
    expires: float

    def warning(self, now: float) -> str | None:
        """Return why clients reject the certificate now; None: they accept it."""
        if self.expires <= now:
            return "the certificate has expired"
        return "the certificate is not valid yet" if now < self.begins else None


def load_tls(tls: Tls) -> LoadedTls:
    """Read the files. Raises ConfigInvalid."""
    if problems := [*_unreadable(tls)]:
        raise ConfigInvalid("endpoint.tls", problems)
    # Not for trust: this distinguishes a truncated file from one of another kind.
    _trust(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), "certificate", tls.certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _MINIMUM[tls.minimum_version]
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols(_PROTOCOLS)
    _load_pair(context, tls)
    if tls.client_ca:
        context.verify_mode = _VERIFY_MODES[tls.client_certificate]
        _trust(context, "client_ca", tls.client_ca)
    return LoadedTls(context, *_validity(tls.certificate))


def as_date(seconds: float) -> str:
    """Return a Unix time as a date and time of UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _unreadable(tls: Tls) -> Iterator[str]:
    for name in ("certificate", "key", "client_ca"):
        path = getattr(tls, name)
        try:
            if path is not None:
                Path(path).read_bytes()
        except (OSError, ValueError) as error:
            yield f"{name}: {path}: {getattr(error, 'strerror', error)}"


def _trust(context: ssl.SSLContext, name: str, path: str) -> None:
    try:
        context.load_verify_locations(path)
    except ssl.SSLError:
        raise _wrong(name, path, "expected certificates in PEM form") from None


def _load_pair(context: ssl.SSLContext, tls: Tls) -> None:
    """Load the certificate and its key into a context."""
    path = tls.key or tls.certificate
    is_encrypted = False

    def password() -> str:  # without this, OpenSSL prompts on the terminal
        nonlocal is_encrypted
        is_encrypted = True
        if tls.key_password is None:
            raise _wrong("key", path, "is encrypted: set key_password")
        return tls.key_password

    try:
        context.load_cert_chain(tls.certificate, path, password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            reason = f"is not the key of the certificate, {tls.certificate}"
        elif is_encrypted:
            reason = "key_password does not open it"
        else:
            reason = error.reason or "expected a private key in PEM form"
        raise _wrong("key", path, reason) from None


def _validity(path: str) -> tuple[float, float]:
    """Return from when to when the certificate is valid, in Unix times."""
    try:
        # The standard library has no other way to read one's own certificate.
        fields = vars(_ssl)["_test_decode_cert"](path)
        begins = ssl.cert_time_to_seconds(fields["notBefore"])
        expires = ssl.cert_time_to_seconds(fields["notAfter"])
        return begins, expires
    except (ssl.SSLError, ValueError) as error:
        raise _wrong("certificate", path, str(error)) from None


def _wrong(name: str, path: str, reason: str) -> ConfigInvalid:
    return ConfigInvalid("endpoint.tls", [f"{name}: {path}: {reason}"])
