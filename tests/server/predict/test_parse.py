"""Texts become canonical rows and keys; what is wrong with one hurts no other."""

import gc
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from gomlx.contract.canonical import Exact
from gomlx.contract.dictionary import Dictionary
from gomlx.contract.signature import Signature
from gomlx.contract.tensor import Row, Tensor
from gomlx.errors import GomlxError, InvalidInput, TooLarge
from gomlx.server.predict.parse import LENGTHY, ParsedRequest, RequestParser
from tests.server.predict.fakes import DICTIONARY, SIGNATURE, parsed_of

MAX_ROWS = 100


def parser_of(signature: Signature = SIGNATURE, is_keyed: bool = True) -> RequestParser:
    return RequestParser(signature, DICTIONARY, MAX_ROWS, is_keyed)


def parse_one(text: bytes | str, is_keyed: bool = True) -> ParsedRequest | Exception:
    (parsed,) = parser_of(is_keyed=is_keyed).parse([text])
    return parsed


@dataclass(frozen=True)
class CountingSignature(Signature):
    """A signature that keeps what it looked for plain rows in."""

    values: list[Any] = field(default_factory=list)

    def plain_row(self, body: Any) -> Row | None:
        self.values.append(body)
        return super().plain_row(body)


def test_plain_rows_are_looked_for_once_in_each_text() -> None:
    """A batch, a row that is not plain, an error: none is looked at again."""
    signature = CountingSignature(SIGNATURE.inputs, SIGNATURE.outputs)
    texts: list[bytes | str] = [
        b'{"city":["rome","oslo"],"x":[1,2],"batch_size":2}',
        b'{"city":"rome","x":1}',
        b'{"city":"rome","x":[1]}',
        b'{"city":1,"x":1}',
        "city=oslo&x=2",
    ]
    parsed = parser_of(signature).parse(texts)
    assert parsed[0] == parsed_of_cities(("rome", 1.0), ("oslo", 2.0))
    assert len(signature.values) == len(texts)


def parsed_of_cities(*rows: Row) -> ParsedRequest:
    canonical = DICTIONARY.canonical(rows)
    return ParsedRequest(canonical, DICTIONARY.keys(canonical), len(rows) > 1)


@pytest.mark.parametrize(
    "text",
    [
        b'{"city":"rome","x":1}',
        b'{"x":1.0,"city":"rome"}',
        b'{"city":"rome","x":1,"batch_size":null}',
        "city=rome&x=1",
        "x=1.0&city=rome&batch_size=3",
    ],
)
def test_one_row(text: bytes | str) -> None:
    assert parse_one(text) == parsed_of(1.0)


def test_a_batch_of_one_row_is_a_batch() -> None:
    text = b'{"city":["rome"],"x":[1],"batch_size":1}'
    assert parse_one(text) == parsed_of(1.0, is_batch=True)


def test_values_out_of_vocabulary_have_one_key() -> None:
    lima, cairo = parser_of().parse([b'{"city":"lima","x":1}', "city=cairo&x=1"])
    assert lima == cairo == parsed_of_cities(("UNK", 1.0))


def test_without_a_cache_there_are_no_keys() -> None:
    for text in (b'{"city":"rome","x":1}', b'{"city":"rome","x":1,"batch_size":null}'):
        parsed = parse_one(text, is_keyed=False)
        assert isinstance(parsed, ParsedRequest)
        assert (parsed.rows, parsed.keys) == ([("rome", 1.0)], [])


def test_recent_texts_are_not_parsed_again() -> None:
    parser = parser_of()
    for texts in (parser.recent.newer, parser.recent.older):
        texts[b"any text"] = parsed_of(3.0)
        assert parser.parse([b"any text"]) == [parsed_of(3.0)]
        texts.clear()


OPTIONAL = Signature((Tensor("x", "float32", (), "nan"),), ())
OF_OPTIONAL = RequestParser(
    OPTIONAL, Dictionary("v", OPTIONAL, [Exact("float32", "")]), MAX_ROWS, True
)


def test_a_missing_number_is_one_request() -> None:
    texts: list[bytes | str] = [
        b'{"x":NaN}',
        b'{"x": NaN }',
        b'{"x":null}',
        b'{"x":"NaN"}',
        "x=NaN",
        "x=null",
        b'{"x":[NaN],"batch_size":1}',
    ]
    parsed = OF_OPTIONAL.parse(texts)
    assert not any(isinstance(one, Exception) for one in parsed)
    assert len({one.keys[0] for one in parsed if isinstance(one, ParsedRequest)}) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"x":Infinity}', "got +Infinity"),
        (b'{"x":-Infinity,"y":NaN}', "no such input"),
        (b'{"x":NaN', "malformed JSON"),
        (b'{"x":' + b"[" * 100_000 + b"NaN", "malformed JSON"),
        (b'{"x":"\\ud800","y":NaN}', "no such input"),
        ("x=Infinity", "got +Infinity"),
        ("x=", "null or"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_body_with_nan_is_checked_all_the_same(
    text: bytes | str, message: str
) -> None:
    (error,) = OF_OPTIONAL.parse([text])
    assert isinstance(error, InvalidInput)
    assert message in str(error)


def test_a_large_malformed_body_is_not_looked_into() -> None:
    body = b'{"city":"' + b"a" * 100_000 + b'","x":NaN}'
    error = parse_one(body)
    assert isinstance(error, InvalidInput)
    assert "malformed JSON" in str(error)


WRONG: list[tuple[bytes | str, type[Exception], str]] = [
    (b"{", InvalidInput, "malformed JSON"),
    (b'{"city":"\xff","x":1}', InvalidInput, "not UTF-8: byte 9 is 0xff"),
    (b'{"city":"r\xc3', InvalidInput, "byte 10 is 0xc3 (unexpected end of data)"),
    (b'{"city":"\xed\xa0\x80","x":1}', InvalidInput, "not UTF-8: byte 9 is 0xed"),
    ('{"city":"rome","x":1}'.encode("utf-16"), InvalidInput, "not UTF-8: byte 0"),
    (
        b'{"city":"rome","x":NaN}',
        InvalidInput,
        "'x': expected float32 (a finite number)",
    ),
    (b"[1]", InvalidInput, "expected a JSON object"),
    (b'{"city":"rome"}', InvalidInput, "missing"),
    ("city=rome&x", InvalidInput, "malformed query"),
    ("&".join(["city=rome"] * 2000), InvalidInput, "it has more than"),
    ("city=rome&x=one", InvalidInput, "got"),
    (b'{"city":["a"],"x":[1],"batch_size":101}', TooLarge, "at most 100 rows"),
]


def test_each_text_has_its_own_error() -> None:
    fine = b'{"city":"rome","x":1}'
    texts: list[bytes | str] = [text for wrong, _, _ in WRONG for text in (wrong, fine)]
    parsed = parser_of().parse(texts)
    assert parsed[1::2] == [parsed_of(1.0)] * len(WRONG)
    for error, (_, kind, message) in zip(parsed[::2], WRONG, strict=True):
        assert isinstance(error, kind)
        assert message in str(error)


def test_what_is_refused_is_gone_with_its_error() -> None:
    """Else texts and values stay in memory until a garbage collection."""
    parser = parser_of()
    texts = [text for text, _, _ in WRONG]
    gc.collect()
    gc.disable()
    try:
        parser.parse(texts)
        for text in texts:
            parser.parse([text])
            parser.parse_large(text)
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_a_row_without_a_key_hurts_no_other() -> None:
    """Keys of a turn's rows are made together, and again apart if that fails."""
    kinds = [Exact("string", ""), Exact("float32", "")]
    dictionary = Dictionary("v", SIGNATURE, kinds)
    parser = RequestParser(SIGNATURE, dictionary, MAX_ROWS, is_keyed=True)
    first, wrong, last = parser.parse(["city=a&x=1", "city=\ud800&x=1", "city=b&x=1"])
    assert isinstance(wrong, InvalidInput)
    assert "surrogate" in str(wrong)
    for parsed, city in ((first, "a"), (last, "b")):
        assert isinstance(parsed, ParsedRequest)
        assert parsed.rows == [(city, 1.0)]
        assert parsed.keys == dictionary.keys(parsed.rows)


def test_a_bug_hurts_no_other_text() -> None:
    class Broken(Signature):
        def check_closely(self, body: Any, max_rows: int = 0) -> Any:
            raise ZeroDivisionError

    parser = parser_of(Broken(SIGNATURE.inputs, SIGNATURE.outputs))
    bug, fine = parser.parse([b"[]", b'{"city":"rome","x":1}'])
    assert isinstance(bug, ZeroDivisionError)
    assert fine == parsed_of(1.0)


def batch(x: str, size: int, city: str = '["rome"]') -> bytes:
    return f'{{"city":{city},"x":{x},"batch_size":{size}}}'.encode()


TEXT = "a" * 30_000
LONG: dict[str, bytes] = {
    "lists": batch("[" + ",".join(["[1]"] * 256) + "]", 256),
    "objects": batch("[1]", 99, "[" + ",".join(['{"b64":"YQ=="}'] * 300) + "]"),
    "one text for all rows": batch("[1]", 90, f'["{TEXT}"]'),
    "one text as it is": batch("[1]", 90, f'"{TEXT}"'),
}


@pytest.mark.parametrize("what", LONG)
def test_what_takes_long_is_left_to_a_thread(what: str) -> None:
    text = LONG[what]
    parser = RequestParser(SIGNATURE, DICTIONARY, 256, True)
    assert parser.parse([text, b'{"city":"rome","x":1}']) == [
        LENGTHY,
        parsed_of_cities(("rome", 1.0)),
    ]
    outcome = parser.parse_large(text)
    assert outcome is not LENGTHY
    if what == "one text for all rows":
        assert isinstance(outcome, ParsedRequest)
        assert len(outcome.keys) == 90
    else:
        assert isinstance(outcome, InvalidInput)


def test_columns_of_scalars_are_parsed_at_once() -> None:
    numbers = ",".join(["0.125"] * 100)
    cities = ",".join(['"rome and [{not}]"'] * 100)
    text = batch(f"[{numbers}]", 100, f"[{cities}]")
    assert isinstance(parse_one(text), ParsedRequest)
    assert isinstance(parse_one(batch(f"[{numbers}]", 100)), ParsedRequest)


def test_a_large_body_with_many_names_is_not_decoded() -> None:
    text = b'{"city":"rome","x":1,%b}' % b",".join(b'"k%d":1' % n for n in range(9))
    outcome = parser_of().parse_large(text)
    assert str(outcome) == "too many names; the model takes: city, x"


def array(of: bytes, count: int) -> bytes:
    return b"[%b]" % b",".join([of] * count)


@pytest.mark.parametrize(
    "members",
    [
        b'"x":%b' % array(b"1.5", 9000),
        b'"city":%b,"x":1' % array(b"1", 20_000),
        b'"city":"rome","x":%b,"batch_size":20000' % array(b"1", 20_000),
        b'"city":"rome","x":%b' % array(b"[[1,2],[3,4]]", 4000),
    ],
)
def test_a_large_array_is_refused_as_lists_are(members: bytes) -> None:
    """It has been decoded in pieces, and is not decoded once more as a whole."""
    text = b"{%b}" % members
    outcome = parser_of().parse_large(text)
    value = orjson.loads(text)
    with pytest.raises(GomlxError) as refused:
        SIGNATURE.check_closely(value, MAX_ROWS)
    assert str(outcome) == str(refused.value)
    assert type(outcome) is type(refused.value)
