r"""Signed values: who can write to a Redis, but has no key, cannot lie.

A signed value is `ANSWER\nSIGNATURE`. The signature is 16 bytes in hex: blake2b, keyed,
of the name's length in 4 bytes, the name and the answer. The name has the format, the
model and the version, which stands for the contract, so an answer that is moved to
another name is none there. What still can be done without a key: to delete an answer,
and to write back one that was read under the same name before.
"""

import asyncio
import logging
import re
import time
from collections.abc import Callable, Sequence
from hashlib import blake2b
from hmac import compare_digest

from gomlx.errors import ConfigInvalid
from gomlx.runtime.secret_file import secret_lines, stamp

log = logging.getLogger(__name__)

FORGED = b""  # in place of a value without a valid signature: it is no answer

_DIGEST_BYTES = 16
_SUFFIX_BYTES = 1 + 2 * _DIGEST_BYTES
_FORMAT = b"gomlx:signed:1"
_LOOK_SECONDS = 1.0
_is_key = re.compile(r"(?:[0-9a-fA-F]{2}){32,64}").fullmatch
_EXPECTED = "expected a key a line, of 64 to 128 hex digits: `openssl rand -hex 32`"


class Signer:
    """Signs with the first key of a file, and verifies with all of them.

    The file is looked at once a second while it is in use, in a thread, and read when
    it has changed and settled. If it is not valid then, the keys in use stay. For one
    event loop.
    """

    def __init__(self, path: str, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises ConfigInvalid if the file is not valid, or if others may read it."""
        self._path = path
        self._clock = clock
        self._tried = self._seen = stamp(path)
        self._keyed = _read(path)
        self._next_look = clock() + _LOOK_SECONDS
        self._level = logging.WARNING

    def signed(self, name: bytes, answer: bytes) -> bytes:
        """Return an answer with its signature under a name."""
        return b"%b\n%b" % (answer, _signature(self._keyed[0], name, answer))

    def verified(
        self, names: Sequence[bytes], values: Sequence[bytes | None]
    ) -> list[bytes | None]:
        """Return the answers in values; FORGED where no key of ours signed one."""
        found = [v and self._verified(n, v) for n, v in zip(names, values, strict=True)]
        if FORGED in found:
            log.log(
                self._level,
                "values without a valid signature, for example that of %s: they are"
                " misses; do all services have the keys of %s?",
                names[found.index(FORGED)].decode(errors="replace"),
                self._path,
            )
            self._level = logging.DEBUG  # one warning is enough; a metric counts them
        return found

    def look(self) -> None:
        """Have the file looked at, if the last look is long ago; does not wait."""
        now = self._clock()
        if now >= self._next_look:
            self._next_look = now + _LOOK_SECONDS
            asyncio.get_running_loop().run_in_executor(None, self._look)

    def _verified(self, name: bytes, value: bytes) -> bytes:
        answer = value[:-_SUFFIX_BYTES]
        end = value[-_SUFFIX_BYTES:]
        for keyed in self._keyed:
            if compare_digest(b"\n" + _signature(keyed, name, answer), end):
                return answer
        return FORGED

    def _look(self) -> None:
        new = stamp(self._path)
        has_settled = new == self._seen  # it may be half written
        self._seen = new
        if not has_settled or new == self._tried:
            return
        self._tried = new
        try:
            self._keyed = _read(self._path)
        except ConfigInvalid as error:
            log.error("the keys in use stay: %s", error)
        else:
            log.info("%s: %d keys are in use now", self._path, len(self._keyed))


def _signature(keyed: blake2b, name: bytes, answer: bytes) -> bytes:
    digest = keyed.copy()
    digest.update(b"%b%b%b" % (len(name).to_bytes(4, "big"), name, answer))
    return digest.hexdigest().encode()


def _read(path: str) -> list[blake2b]:
    """Return a keyed digest of nothing for each key. Raises ConfigInvalid."""
    try:
        keys = secret_lines(path)
    except (OSError, ValueError) as error:
        raise _invalid(path, getattr(error, "strerror", None) or str(error)) from None
    for n, key in keys.items():
        if not _is_key(key):
            raise _invalid(path, f"line {n}: {_EXPECTED}")
    if not keys:
        raise _invalid(path, _EXPECTED)
    return [
        blake2b(key=bytes.fromhex(key), digest_size=_DIGEST_BYTES, person=_FORMAT)
        for key in keys.values()
    ]


def _invalid(path: str, reason: str) -> ConfigInvalid:
    return ConfigInvalid("sign_key_file", [f"{path}: {reason}"])
