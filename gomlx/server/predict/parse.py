"""From the text of a request to its canonical rows and their keys.

A pure function of the text and the version, so what was made of a text can be kept:
the same request comes again and again, often byte for byte.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from time import sleep
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import orjson

from gomlx.contract.agreement import check_agreement
from gomlx.contract.dictionary import Dictionary
from gomlx.contract.echoes import Echoes
from gomlx.contract.key import request_key
from gomlx.contract.signature import RESERVED, Signature
from gomlx.contract.tensor import Row
from gomlx.contract.values import arrays
from gomlx.contract.values.members import too_many_names
from gomlx.errors import GomlxError, InvalidInput
from gomlx.server.predict.recent import RecentTexts

# A list or object of a text that is no plain row takes up to 7 us to check, and so many
# take some milliseconds; so do the keys of as many bytes that stand for all rows.
_MOST_LISTS = 256
_MOST_REPEATED = 1 << 20
_PAUSE_SECONDS = 5e-6
_MAX_EXPLAINED = 64 << 10  # bytes of a malformed body that is looked into


class ParsedRequest(NamedTuple):
    """The canonical rows of one request; a key for each, or none without a cache.

    Of rows that are answered together, it has one: the tuple of all of them, a row of
    rows. To the cache, the queue and the reply it is like any other.
    """

    rows: list[Row]
    keys: list[bytes]
    is_batch: bool
    echoes: Sequence[bytes] = ()  # members of each row's answer, or none


class Lengthy(Exception):  # nothing is wrong
    """The text takes too long to parse on the event loop, though it is not large."""


LENGTHY = Lengthy()


class RequestParser:
    """Parses the requests for one version.

    max_rows limits one request. is_keyed: make keys. recent: texts that are not parsed
    again; `VersionLookup` fills it.
    """

    _joins_rows = True  # those of plain requests are made canonical together

    def __init__(
        self,
        signature: Signature,
        dictionary: Dictionary,
        max_rows: int,
        is_keyed: bool,
    ) -> None:
        self._signature = signature
        self._dictionary = dictionary
        self._max_rows = max_rows
        self._is_keyed = is_keyed
        self.recent = RecentTexts[ParsedRequest]()

    def parse(self, texts: Sequence[bytes | str]) -> list[ParsedRequest | Exception]:
        """Parse JSON bodies (bytes) and query strings (str), together.

        In the place of a text that cannot be parsed is the error: InvalidInput,
        TooLarge; LENGTHY where `parse_large` must do it; another exception is a bug,
        and the other texts are parsed all the same.
        """
        newer = self.recent.newer.get
        older = self.recent.older.get
        parsed: list[ParsedRequest | Exception | None] = [
            newer(text) or older(text) for text in texts
        ]
        if None in parsed:
            self._fill(parsed, texts)
        return parsed  # type: ignore[return-value] # PERF: cast() makes its type

    def parse_large(self, text: bytes | str) -> ParsedRequest | Exception:
        """Parse one large text, in a thread: others run between its pieces."""
        if isinstance(text, bytes):
            body = None
            with suppress(Exception):  # the ordinary way says what is wrong
                body = arrays.decoded(text, _let_others_run)
                if body is not None:
                    return self._check(body)
            if body is not None:
                return self._looked_at_closely(arrays.as_lists(body))
            if too_many_names(text, len(self._signature.names) + len(RESERVED)):
                names = ", ".join(self._signature.names)
                return InvalidInput(f"too many names; the model takes: {names}")
        # Not among recent texts, which are short: the hash of a long one takes long.
        parsed: list[ParsedRequest | Exception | None] = [None]
        self._fill(parsed, [text], may_defer=False)
        (one,) = parsed
        assert one is not None  # it has been filled
        return one

    def _fill(
        self,
        parsed: list[ParsedRequest | Exception | None],
        texts: Sequence[bytes | str],
        may_defer: bool = True,
    ) -> None:
        """Parse the texts in whose places there is None.

        may_defer: whether LENGTHY may be in the place of one.
        """
        plain: dict[int, Row] = {}  # by place
        signature = self._signature
        for i, text in enumerate(texts):
            if parsed[i] is None:
                try:
                    if isinstance(text, bytes):
                        value = decoded(text, signature, self._max_rows)
                    else:
                        value = _decoded_query(text, signature)
                    row = signature.plain_row(value)
                    if row is None:
                        defers = may_defer and _is_lengthy(text, value)
                        parsed[i] = LENGTHY if defers else self._check(value)
                    elif len(texts) > 1 and self._joins_rows and self._is_keyed:
                        plain[i] = row
                    else:
                        parsed[i] = self._request([row], False)
                except Exception as error:
                    parsed[i] = _to_keep(error)
        if plain:
            self._fill_plain(parsed, plain)

    def _fill_plain(
        self, parsed: list[ParsedRequest | Exception | None], plain: Mapping[int, Row]
    ) -> None:
        """Make a request of each row.

        PERF: column by column, for all requests of one turn of the event loop.
        """
        try:
            joined = self._request(list(plain.values()), False)
        except Exception as error:
            if len(plain) == 1:
                (place,) = plain
                parsed[place] = _to_keep(error)
                return
            for i, row in plain.items():
                self._fill_plain(parsed, {i: row})
        else:
            for i, row, key in zip(plain, joined.rows, joined.keys, strict=True):
                parsed[i] = ParsedRequest([row], [key], False)

    def _check(self, value: Any) -> ParsedRequest:
        """Parse what is not a plain row: a batch, or values that need a closer look."""
        checked = self._signature.check_closely(value, self._max_rows)
        return self._request(checked.rows, checked.is_batch)

    def _looked_at_closely(self, value: Any) -> ParsedRequest | Exception:
        try:
            return self._check(value)
        except Exception as error:
            return _to_keep(error)

    def _request(self, rows: Sequence[Row], is_batch: bool) -> ParsedRequest:
        """Make the rows canonical, and their keys."""
        canonical = self._dictionary.canonical(rows)
        keys = self._dictionary.keys(canonical) if self._is_keyed else []
        return ParsedRequest(canonical, keys, is_batch)


class EchoParser(RequestParser):
    """Parses requests for a version that has outputs which repeat inputs."""

    _joins_rows = False

    def __init__(
        self,
        signature: Signature,
        dictionary: Dictionary,
        max_rows: int,
        is_keyed: bool,
    ) -> None:
        super().__init__(signature, dictionary, max_rows, is_keyed)
        self._echoes = Echoes(signature)

    def _request(self, rows: Sequence[Row], is_batch: bool) -> ParsedRequest:
        request = super()._request(rows, is_batch)
        return request._replace(echoes=self._echoes.of(rows))


class TogetherParser(RequestParser):
    """Parses requests whose rows are answered together: each request is one question.

    Its answer is the list of the answers of all rows, also of one.
    """

    _joins_rows = False

    def _request(self, rows: Sequence[Row], is_batch: bool) -> ParsedRequest:
        canonical, keys, *_ = super()._request(rows, is_batch)
        check_agreement(self._signature, canonical)
        row: Row = tuple(canonical)  # type: ignore[arg-type]
        return ParsedRequest([row], [request_key(keys)] if keys else [], False)


def _is_lengthy(text: bytes | str, value: Any) -> bool:
    """Whether a body without a plain row takes milliseconds to check.

    By its text, which no part of it can hide from.
    """
    if isinstance(text, str):
        return False
    if len(text) > _MOST_LISTS and text.count(b"[") + text.count(b"{") > _MOST_LISTS:
        return True
    size = value.get("batch_size") if isinstance(value, dict) else None
    if type(size) is not int or size * len(text) <= _MOST_REPEATED:
        return False
    columns = (value[name] for name in value.keys() - RESERVED)
    # One value for all rows is in a list of its own, or in none.
    return any(type(one) is not list or len(one) == 1 < size for one in columns)


def _to_keep(error: Exception) -> Exception:
    """Return an error without its stack, unless it is a bug, whose stack is logged."""
    return error.without_frames() if isinstance(error, GomlxError) else error


def _let_others_run() -> None:
    """Release the interpreter, for long enough that a waiting thread gets it."""
    sleep(_PAUSE_SECONDS)


def decoded(body: bytes, signature: Signature, max_rows: int) -> Any:
    """Decode a JSON body. Raises InvalidInput."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        _check_encoding(body)
        if b"NaN" in body and signature.admits_missing:
            return _with_bare_nan(body, error)
        if len(body) <= _MAX_EXPLAINED:
            _find_non_numbers(body, signature, max_rows)
        raise InvalidInput(f"malformed JSON: {error}") from None


def _check_encoding(body: bytes) -> None:
    """Raise InvalidInput if the body is not UTF-8."""
    try:
        body.decode()
    except UnicodeDecodeError as error:
        reason = f"byte {error.start} is 0x{body[error.start]:02x} ({error.reason})"
        advice = 'send UTF-8, and strings of other bytes as {"b64": "…"}'
        raise InvalidInput(f"the body is not UTF-8: {reason}; {advice}") from None


def _with_bare_nan(body: bytes, error: orjson.JSONDecodeError) -> Any:
    """Decode a body with NaN, which is not JSON, and which Python's own parser admits.

    Raises InvalidInput.
    """
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidInput(f"malformed JSON: {error}") from None


def _find_non_numbers(body: bytes, signature: Signature, max_rows: int) -> None:
    """Raise an error that names the input, if NaN or Infinity caused the error.

    Python's own parser admits them, and the signature says where they are.
    """
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return
    signature.check(value, max_rows)


def _decoded_query(query: str, signature: Signature) -> Any:
    """Decode a query string. Raises InvalidInput."""
    most = len(signature.names) + len(RESERVED)
    if query.count("&") >= most:  # each name may be given once
        raise InvalidInput(f"malformed query: it has more than {most} parameters")
    try:
        pairs = parse_qsl(
            query,
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
        )
    except ValueError as error:
        raise InvalidInput(f"malformed query: {error}") from None
    return signature.parse(pairs)
