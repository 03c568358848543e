"""The window of a stream: the lines whose answers the client has not read yet."""

import asyncio
from collections import deque
from collections.abc import Iterator

from gomlx.server.predict.request import WaitingRequest


class Line:
    """One line of the body, and how much of the window it occupies.

    answer: the line to send, once it is there. pending: its request, if it has to wait.
    """

    __slots__ = ("answer", "pending", "rows", "size")

    def __init__(self, size: int) -> None:
        self.answer = b""
        self.pending: WaitingRequest | None = None
        self.rows = 0
        self.size = size


class StreamWindow:
    """Lines in the order of their arrival, bounded by rows and by bytes.

    open ─► complete, in any order ─► drain, in the order of arrival
    """

    def __init__(self, max_rows: int, max_bytes: int) -> None:
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._lines: deque[Line] = deque()
        self._rows = 0
        self._bytes = 0
        self._is_drained = asyncio.Event()
        self._is_completed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._lines)

    @property
    def has_rows(self) -> bool:
        """Whether some row's answer is still to be computed or read."""
        return self._rows > 0

    def is_full(self) -> bool:
        """Return whether the next line has to wait until the client has read more."""
        return self._rows >= self._max_rows or self._bytes >= self._max_bytes

    def open(self, size: int) -> Line:
        """Add a line of so many bytes."""
        line = Line(size)
        self._lines.append(line)
        self._bytes += size
        return line

    def submitted(self, line: Line, pending: WaitingRequest | None) -> None:
        """Count a line's rows; of a line that is answered already, one."""
        line.pending = pending
        line.rows = len(pending.answers) if pending else 1
        self._rows += line.rows

    def complete(self, line: Line, answer: bytes) -> None:
        """Set a line's answer."""
        line.answer = answer
        line.size += len(answer)
        self._bytes += len(answer)
        self.notify()

    def drain(self) -> bytes:
        """Remove the lines up to the first without an answer; return their answers."""
        answers = []
        while self._lines and self._lines[0].answer:
            line = self._lines.popleft()
            self._rows -= line.rows
            self._bytes -= line.size
            answers.append(line.answer)
        self._is_drained.set()
        return b"".join(answers)

    def clear(self) -> Iterator[WaitingRequest]:
        """Remove every line; yield the requests that still wait."""
        lines = [*self._lines]
        self._lines.clear()
        for line in lines:
            if line.pending and not line.answer:
                yield line.pending

    def notify(self) -> None:
        """Wake who waits for an answer."""
        self._is_completed.set()

    async def wait_until_drained(self) -> None:
        """Wait for the next `drain`."""
        self._is_drained.clear()
        await self._is_drained.wait()

    async def wait_until_completed(self) -> None:
        """Wait for the next `complete`, or `notify`."""
        self._is_completed.clear()
        await self._is_completed.wait()
