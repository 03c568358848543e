"""Lines that a thread makes and writes, so that no request waits for them."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from gomlx.metrics.instruments import Counter
from gomlx.server.logs.sinks import Sink

log = logging.getLogger(__name__)

Render = Callable[[], Iterable[bytes]]

_MOST_BYTES = 8 << 20  # that wait
_BATCH = 256  # items that are written at once
_GATHER_SECONDS = 0.2
_CLOSE_SECONDS = 2.0  # for what waits at the end


class LineCounts:
    """The lines of one log: of the thread, and those already in the counters.

    written, failed (to be written): by the thread. dropped: by the event loop.
    """

    def __init__(self, counter: Callable[[str], Counter]) -> None:
        """counter: of an outcome."""
        self.written = 0
        self.failed = 0
        self.dropped = counter("dropped")
        self._written = counter("written")
        self._failed = counter("failed")
        self._counted_written = 0
        self._counted_failed = 0

    def tick(self) -> None:
        """Count what the thread has done since. On the event loop, as flushes are."""
        written = self.written
        failed = self.failed
        self._written.n += written - self._counted_written
        self._failed.n += failed - self._counted_failed
        self._counted_written = written
        self._counted_failed = failed


class _Item(NamedTuple):
    render: Render
    size: int
    counts: LineCounts


class LineWriter:
    """Writes lines to one sink, from a bounded queue.

    `put` is for one thread, the event loop's.

    PERF: the thread is woken a few times a second, unless the queue is half full. Each
    time it takes the interpreter from the event loop: woken for each line of a sample
    of 1%, it cost the others a tenth.
    """

    def __init__(self, sink: Sink, most_bytes: int = _MOST_BYTES) -> None:
        self._sink = sink
        self._most_bytes = most_bytes
        self._queue = deque[_Item]()
        self._has_items = threading.Event()
        self._has_to_hurry = threading.Event()
        self._is_closing = False
        self._put_bytes = 0
        self._taken_bytes = 0  # by the thread: no lock, as each number has one writer
        self._problem = ""
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def put(self, render: Render, size: int, counts: LineCounts) -> None:
        """Have lines written that render makes in the thread; drop them if it is late.

        size: about the bytes that they hold until then.
        """
        waiting = self._put_bytes - self._taken_bytes
        if waiting + size > self._most_bytes:
            counts.dropped.n += 1
            return
        if waiting > self._most_bytes // 2:
            self._has_to_hurry.set()
        self._put_bytes += size
        self._queue.append(_Item(render, size, counts))
        if not self._has_items.is_set():
            self._has_items.set()

    def close(self) -> None:
        """Write what waits, unless that takes long."""
        self._is_closing = True
        self._has_to_hurry.set()
        self._has_items.set()
        self._thread.join(_CLOSE_SECONDS)

    def _run(self) -> None:
        is_last = False
        while not is_last:
            self._has_items.wait()
            self._has_to_hurry.wait(_GATHER_SECONDS)
            is_last = self._is_closing
            self._has_to_hurry.clear()
            self._has_items.clear()  # before the look, so that no item is forgotten
            while self._queue:
                items = min(len(self._queue), _BATCH)
                self._write([self._queue.popleft() for _ in range(items)])

    def _write(self, items: list[_Item]) -> None:
        rendered = [(one.counts, _rendered(one.render)) for one in items]
        whole = b"".join(line for _, lines in rendered for line in lines)
        try:
            self._sink.write(whole)
        except OSError as error:
            for counts, lines in rendered:
                counts.failed += len(lines)
            self._report(str(error))
        else:
            for counts, lines in rendered:
                counts.written += len(lines)
            self._problem = ""
        for item in items:
            self._taken_bytes += item.size

    def _report(self, problem: str) -> None:
        if problem != self._problem:  # once, until another comes or none
            log.error("lines of a log are lost: %s", problem)
        self._problem = problem


def _rendered(render: Render) -> list[bytes]:
    try:
        return [*render()]
    except Exception:  # a bug of one line is not another's
        log.exception("a line of a log cannot be made")
        return []
