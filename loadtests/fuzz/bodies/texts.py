"""Bodies of requests: rows of a model, with other values, other structure, other bytes.

rows    a situation's, with other elements of the same types       valid
body    one row; or a batch, its columns                           valid
damage  other types, depths and lengths; names that are not there
text    JSON in any of its forms; bytes that are cut
"""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from loadtests.fuzz.cases import cut

Row = dict[str, Any]

_TEXTS = ("", " ", "rome", "oslo", "x", "ü", "東京", "\u0000", "nan", "1", "a" * 300)
_FLOATS = (0.0, -0.0, 1.0, -1.5, 0.1, 2.5, 1e-7, 3e4, -7, 3)
_INTEGERS = (0, 1, 2, 3, 7, 5, 77)
_ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 1.5, 1e300, -1e-320, 10**20, 2**63, -(2**63) - 1),
    *("", "1", "NaN", "Infinity", "true", "\ud800", [], [[]], {}, [None], [1, "a"]),
    *({"b64": "eA=="}, {"b64": "x"}, {"b64": 1}, {"b64": "eA==", "c": 1}, [1, [2]]),
    *({"indices": [[0]], "values": [1.0], "shape": [9]}, {"x": {"x": {"x": []}}}),
)
_SIZES = (0, 1, 2, 3, 4, 7, -1, 1.0, 2.0, True, "2", None, [2], 10**9, 2**64)


class Text(NamedTuple):
    """A body. is_valid: nothing of it is damaged."""

    data: bytes
    is_valid: bool


def any_text(rows: Sequence[Row], shared: set[str], rng: random.Random) -> Text:
    """Return a body for a model that takes such rows; shared: inputs of a request."""
    body = any_body(rows, shared, rng)
    damaged = rng.random() < 0.6
    for _ in range(rng.choice((1, 1, 2)) if damaged else 0):
        body = _damaged(body, rng)
    data = _written(body, rng)
    if rng.random() < 0.15:
        damaged = True
        data = cut(data, rng)
    return Text(data, not damaged)


def any_body(rows: Sequence[Row], shared: set[str], rng: random.Random) -> Row:
    """Return a valid body: one row, or a batch of some."""
    row = rng.choice(rows)
    if rng.random() < 0.4:
        return _varied(row, rng)
    alike = [one for one in rows if one.keys() == row.keys()]
    some = [_varied(rng.choice(alike), rng) for _ in range(rng.choice((1, 2, 3, 7)))]
    return batch(some, shared, rng.random() < 0.2)


def batch(rows: Sequence[Row], shared: set[str], is_one: bool = False) -> Row:
    """Return a request of rows; is_one: all are the first one, which is said once."""
    body = {
        name: rows[0][name]
        if name in shared
        else [row[name] for row in (rows[:1] if is_one else rows)]
        for name in rows[0]
    }
    return {"batch_size": len(rows), **body}


def _varied(row: Mapping[str, Any], rng: random.Random) -> Row:
    """Return a row with other elements of the same types."""
    return {
        name: _other(value, rng) if rng.random() < 0.5 else value
        for name, value in row.items()
    }


def _other(value: Any, rng: random.Random) -> Any:
    if isinstance(value, list):
        return [_other(one, rng) for one in value]
    if isinstance(value, bool):
        return rng.random() < 0.5
    if isinstance(value, str):
        return value if value == "NaN" else rng.choice(_TEXTS)
    if isinstance(value, int):
        return rng.choice(_INTEGERS) if value >= 0 else value
    if isinstance(value, float):
        whole = value == int(value) if abs(value) < 1e9 else False
        return value if whole else rng.choice(_FLOATS)
    return value


# --- damage ---


def _damaged(body: Any, rng: random.Random) -> Any:
    if not isinstance(body, dict) or not body:
        return rng.choice(_ODD)
    name = rng.choice(sorted(body))
    changes: tuple[Callable[[], Any], ...] = (
        lambda: {**body, name: _changed(body[name], rng)},
        lambda: {**body, name: _changed(body[name], rng)},
        lambda: {**body, name: _changed(body[name], rng)},
        lambda: {k: v for k, v in body.items() if k != name},
        lambda: {**body, name + "x": body[name]},
        lambda: {**body, "batch_size": rng.choice(_SIZES)},
        lambda: {**body, "cache_key": rng.choice(_ODD)},
        lambda: [body],
        lambda: {name.upper() if k == name else k: v for k, v in body.items()},
    )
    return rng.choice(changes)()


def _changed(value: Any, rng: random.Random) -> Any:
    """Return a value of another type, depth or length."""
    if isinstance(value, list) and value:
        place = rng.randrange(len(value))
        changes: tuple[Callable[[], Any], ...] = (
            lambda: [*value[:place], _changed(value[place], rng), *value[place + 1 :]],
            lambda: [*value[:place], _changed(value[place], rng), *value[place + 1 :]],
            lambda: [*value[:place], *value[place + 1 :]],
            lambda: [*value, value[place]],
            lambda: [value],
            lambda: value[place],
            lambda: rng.choice(_ODD),
        )
        return rng.choice(changes)()
    if rng.random() < 0.2:
        return [value]
    if isinstance(value, int | float) and rng.random() < 0.5:
        return rng.choice(
            (value * 2**31, float(value), str(value), -value, value + 0.5)
        )
    return rng.choice(_ODD)


# --- texts ---


def _written(body: Any, rng: random.Random) -> bytes:
    """Return a value as JSON: escaped or not, with blanks or without."""
    separators = rng.choice(((",", ":"), (", ", ": "), (" ,\n", "\t:\r")))
    escapes = rng.random() < 0.5
    text = json.dumps(body, ensure_ascii=escapes, separators=separators)
    if isinstance(body, dict) and body and rng.random() < 0.05:
        name = rng.choice(sorted(body))  # twice: the last one counts
        again = json.dumps({name: body[name]}, ensure_ascii=escapes)
        text = f"{text[:-1]},{again[1:]}"
    return text.encode(errors="surrogatepass")
