"""What a request asks: decoded, checked, collapsed to canonical rows, keyed.

A pure function of the request's text and of the version, so what it made of a text can
be kept: the same question comes again and again, often in the same words.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, cast
from urllib.parse import parse_qsl

import orjson

from gomlx.contract.dictionary import Dictionary
from gomlx.contract.signature import Signature
from gomlx.contract.tensor import Row
from gomlx.errors import InvalidInput

_KEPT_TEXTS, _KEPT_LENGTH, _KEPT_ROWS = 2048, 1024, 8


class ParsedRequest(NamedTuple):
    """The canonical rows of one request, and their keys if answers are cached."""

    rows: list[Row]
    keys: list[bytes]
    is_batch: bool


class RequestParser:
    """Makes what requests ask of one version. Keeps what it made of short texts.

    max_rows: of one request. is_keyed: make keys too.
    """

    def __init__(
        self,
        signature: Signature,
        dictionary: Dictionary,
        max_rows: int,
        is_keyed: bool,
    ) -> None:
        self._signature, self._dictionary = signature, dictionary
        self._max_rows, self._is_keyed = max_rows, is_keyed
        # Texts that were asked lately. Only who knows that a text recurs adds to it:
        # what is asked once would push out what is asked again.
        self.recent: dict[bytes | str, ParsedRequest] = {}
        self._older: dict[bytes | str, ParsedRequest] = {}

    def parse(self, texts: Sequence[bytes | str]) -> list[ParsedRequest | Exception]:
        """Return what each text asks, or what is wrong with it.

        bytes: a JSON body; str: a query. Wrong are InvalidInput and TooLarge; another
        exception is a bug, and hurts no other text.
        """
        recent, older = self.recent.get, self._older.get
        found: list[ParsedRequest | Exception | None] = [
            recent(t) or older(t) for t in texts
        ]
        if None in found:
            self._fill(found, texts)
        return cast(list[ParsedRequest | Exception], found)

    def _fill(
        self,
        found: list[ParsedRequest | Exception | None],
        texts: Sequence[bytes | str],
    ) -> None:
        """Make what was not made of these texts before."""
        rows, places = [], []
        plain_row = self._signature.plain_row
        for i, text in enumerate(texts):
            if found[i] is not None:
                continue
            try:
                value = self._decoded(text)
                # PERF: one row, right as it is, as most are.
                if (row := plain_row(value)) is None:
                    found[i] = self._made(value)
                else:
                    rows.append(row)
                    places.append(i)
            except Exception as error:
                found[i] = error
        for i, one in zip(places, self._each(rows), strict=True):
            found[i] = one

    def _each(self, rows: list[Row]) -> Iterable[ParsedRequest | Exception]:
        """Make what asks for one row each, together."""
        if not rows:
            return []
        try:
            canonical = self._dictionary.canonical(rows)
            if not self._is_keyed:
                return [ParsedRequest([row], [], False) for row in canonical]
            keys = self._dictionary.keys(canonical)
        except Exception as error:
            if len(rows) == 1:
                return [error]
            return [one for row in rows for one in self._each([row])]
        # PERF: column by column, for all that is asked in one turn of the loop.
        pairs = zip(canonical, keys, strict=True)
        return [ParsedRequest([row], [key], False) for row, key in pairs]

    def remember(self, text: bytes | str, asked: ParsedRequest) -> None:
        """Keep what was made of a text that is likely to come again."""
        if len(text) <= _KEPT_LENGTH and len(asked.rows) <= _KEPT_ROWS:
            if len(self.recent) >= _KEPT_TEXTS:
                self.recent, self._older = {}, self.recent
            self.recent[text] = asked

    def _decoded(self, text: bytes | str) -> Any:
        if isinstance(text, bytes):
            return decoded(text, self._signature, self._max_rows)
        return _parsed(text, self._signature)

    def _made(self, value: Any) -> ParsedRequest:
        question = self._signature.check(value, self._max_rows)
        rows = self._dictionary.canonical(question.rows)
        keys = self._dictionary.keys(rows) if self._is_keyed else []
        return ParsedRequest(rows, keys, question.is_batch)


def decoded(body: bytes, signature: Signature, max_rows: int) -> Any:
    """Decode a JSON body. Raises InvalidInput."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        _find_non_numbers(body, signature, max_rows)
        raise InvalidInput(f"malformed JSON: {error}") from None


def _find_non_numbers(body: bytes, signature: Signature, max_rows: int) -> None:
    """Raise an error that names the input, if NaN or Infinity is what is wrong.

    Python's own parser admits them, and the signature then tells where they are.
    """
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        return
    signature.check(asked, max_rows)


def _parsed(query: str, signature: Signature) -> Any:
    """Parse a query string. Raises InvalidInput."""
    try:
        pairs = parse_qsl(query, True, True, errors="strict", max_num_fields=10_000)
    except ValueError as error:
        raise InvalidInput(f"malformed query: {error}") from None
    return signature.parse(pairs)
