"""What was made of texts that came recently, in two generations."""

from typing import Generic, TypeVar

Made = TypeVar("Made")


class RecentTexts(dict[bytes | str, Made], Generic[Made]):
    """The younger generation; when it is full it becomes the older one.

    A text that is found in the older generation has to be remembered again to stay.
    max_texts: of a generation. max_length: of a text that is kept.

    PERF: a dict, since every hit looks into it; a method would cost more than that.
    """

    def __init__(self, max_texts: int = 2048, max_length: int = 1024) -> None:
        super().__init__()
        self._max_texts = max_texts
        self._max_length = max_length
        self.older: dict[bytes | str, Made] = {}

    def remember(self, text: bytes | str, made: Made) -> None:
        """Keep what was made of a text, unless the text is long."""
        if len(text) > self._max_length:
            return
        if len(self) >= self._max_texts:
            self.older = dict(self)
            self.clear()
        self[text] = made
