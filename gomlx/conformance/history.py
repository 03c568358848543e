"""The right answers so far: where an answer that is another's comes from."""

from collections import deque
from collections.abc import Iterator

from gomlx.conformance.recipe import RowAnswers
from gomlx.conformance.verdict import Exchange

_KEPT = 500


class History:
    """The latest exchanges, each with the answers that were right for it."""

    def __init__(self) -> None:
        self._kept = deque[tuple[RowAnswers, Exchange]](maxlen=_KEPT)

    def add(self, answers: RowAnswers, exchange: Exchange) -> None:
        """Keep an exchange."""
        self._kept.append((answers, exchange))

    def source_of(self, answers: RowAnswers) -> Iterator[Exchange]:
        """Yield the latest exchange with the same answers, if there is one."""
        for right, exchange in reversed(self._kept):
            if right == answers:
                yield exchange
                return
