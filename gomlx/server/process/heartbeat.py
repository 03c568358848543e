"""Tells the master that this worker lives, and ends it when its event loop hangs.

A thread does it. What runs in other threads may take as long as it likes; the loop may
not. If something keeps the interpreter to itself, the thread hangs, too, and the master
replaces the worker.
"""

import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable

log = logging.getLogger(__name__)

BEAT_SECONDS = 0.25
_REPORT_SECONDS = 5.0


class Heartbeat:
    """Calls notify while the event loop shows that it runs.

    After timeout_seconds without a beat of the loop, this process is killed. Where the
    loop hangs is logged before, once. Time in which the whole process is suspended does
    not count.
    """

    def __init__(
        self,
        notify: Callable[[], None],
        timeout_seconds: float,
        end: Callable[[], None] = lambda: os.kill(os.getpid(), signal.SIGKILL),
    ) -> None:
        self._notify = notify
        self._timeout_seconds = timeout_seconds
        self._end = end
        self._beats = 0
        self._stopped = threading.Event()
        self._loop_thread = 0

    def start(self) -> None:
        """Watch the event loop of this thread."""
        self._loop_thread = threading.get_ident()
        threading.Thread(target=self._watch, name="heartbeat", daemon=True).start()

    def beat(self) -> None:
        """Show that the event loop runs: several times a second, by the loop."""
        self._beats += 1

    def stop(self) -> None:
        """Notify no more: the worker has to stop."""
        self._stopped.set()

    def _watch(self) -> None:
        beats = 0
        late = 0.0  # seconds without a beat
        is_reported = False
        looked = time.monotonic()
        while not self._stopped.wait(BEAT_SECONDS):
            now = time.monotonic()
            late += min(now - looked, 2 * BEAT_SECONDS)
            looked = now
            if self._beats != beats:
                beats = self._beats
                late = 0.0
                is_reported = False
            self._notify()
            if late >= min(_REPORT_SECONDS, self._timeout_seconds / 2):
                if not is_reported:
                    self._report(late)
                is_reported = True
            if late >= self._timeout_seconds:
                log.error("the event loop has not run for %.0f s: replaced", late)
                self._end()
                return

    def _report(self, late: float) -> None:
        """Log what the event loop does instead of running."""
        frame = sys._current_frames().get(self._loop_thread)
        stack = "".join(traceback.format_stack(frame)) if frame else "it has ended"
        log.error("the event loop has not run for %.1f s; it is here:\n%s", late, stack)
