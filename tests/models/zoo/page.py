"""The page that shows every situation: docs/internals/models.md."""

import json
from collections.abc import Iterator

from tests.models.zoo.catalogue import FAMILIES
from tests.models.zoo.situation import Situation

_HEAD = ("model", "a request", "config", "rows run", "answers are", "equal")
_LONGEST = 60  # characters of a request
_PAGE = """\
# Models, and how they are served

{count} situations that models of TensorFlow bring. Each is a SavedModel that
`tests/models/zoo` builds, stages and serves, together with all others in one service.
Every row is requested alone and in batches of the other rows, which are chosen to
disturb it, cold and warm; each answer is compared with what `tf.saved_model.load`
answers to the row alone.

- *rows run* `together` if the graph proves that they are independent, or the config
  vouches for it; otherwise each row runs `alone`.
- *answers are* `cached` if the model is steady, else `not cached`.
- *equal*: `to the last bit`, or `but for rounding`: floats within a relative 1e-5, for
  models whose last bits depend on the size of a batch
  ([decisions](decisions.md)).

This page is made from `tests/models/zoo`.
"""


def page() -> str:
    """Return the page: a table for each family."""
    count = sum(len(family) for family in FAMILIES.values())
    parts = [_PAGE.format(count=count)]
    for title, family in FAMILIES.items():
        lines = [_HEAD, ["---"] * len(_HEAD), *map(_line, family)]
        rows = [f"| {' | '.join(line)} |" for line in lines]
        parts.append("\n".join([f"## {title}", "", *rows, ""]))
    return "\n".join(parts)


def _line(situation: Situation) -> tuple[str, ...]:
    config = _code(dict(situation.config)) if situation.config else ""
    request = _code(situation.rows[0]) if situation.rows else ""
    return (situation.name, request, config, *_verdict(situation))


def _verdict(situation: Situation) -> Iterator[str]:
    if situation.refused:
        yield from ("*refused*", "", "")
        return
    if situation.is_listwise:
        yield "as one question"
    else:
        yield "together" if situation.joins else "alone"
    yield "cached" if situation.steady else "not cached"
    yield "but for rounding" if situation.rounds else "to the last bit"


def _code(value: object) -> str:
    """Return JSON as code in a table, cut where it is long."""
    text = json.dumps(value, ensure_ascii=False)
    if len(text) > _LONGEST:
        text = text[: _LONGEST - 1] + "…"
    return f"`{text.replace('|', chr(92) + '|')}`"
