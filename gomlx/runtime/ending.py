"""An end to every stop, whatever hangs."""

import asyncio
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable

log = logging.getLogger(__name__)


def end_within(seconds: float, before: Callable[[], None]) -> threading.Timer:
    """End this process with code 1 if it still runs then; return the timer.

    What hangs is logged: the tasks of the running event loop, and where every thread
    is. before is called first. A thread does it, since the event loop itself may hang.
    """
    loop = asyncio.get_running_loop()

    def end() -> None:
        log.critical("the stop has taken over %.0f s; it ends here", seconds)
        for task in asyncio.all_tasks(loop):
            log.critical("this task had not ended: %r", task)
        for thread, frame in sys._current_frames().items():
            stack = "".join(traceback.format_stack(frame))
            log.critical("thread %d is here:\n%s", thread, stack)
        try:
            before()
        finally:
            os._exit(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    return timer
