"""What was made of texts that came recently, in two generations."""

from collections.abc import Sized
from typing import Generic, TypeVar

Made = TypeVar("Made")


class RecentTexts(Generic[Made]):
    """What was made of texts: those that came last, and the generation before them.

    A text that is found in the older generation has to be remembered again to stay.
    max_texts: of a generation. max_length: of a text that is kept.

    PERF: the dicts are public, since every hit looks into them; they are plain ones,
    and a full one is kept as it is, without a copy.
    """

    __slots__ = ("_max_length", "_max_texts", "newer", "older")

    def __init__(self, max_texts: int = 2048, max_length: int = 1024) -> None:
        self._max_texts = max_texts
        self._max_length = max_length
        self.newer: dict[bytes | str, Made] = {}
        self.older: dict[bytes | str, Made] = {}

    def __contains__(self, text: Sized) -> bool:
        """Whether something is kept of a text. PERF: a long one is not hashed."""
        is_short = len(text) <= self._max_length
        return is_short and (text in self.newer or text in self.older)

    def remember(self, text: bytes | str, made: Made) -> None:
        """Keep what was made of a text, unless the text is long."""
        if len(text) > self._max_length:
            return
        if len(self.newer) >= self._max_texts:
            self.older = self.newer
            self.newer = {}
        self.newer[text] = made
