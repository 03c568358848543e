"""Large texts are parsed in a thread, which leaves time to the event loop."""

import asyncio
import gc
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from time import perf_counter, sleep
from typing import Any, TypeVar

T = TypeVar("T")


class GarbageCollector:
    """The garbage collector, which holds the interpreter while it looks at all lists.

    A large text is hundreds of thousands, none of them in a cycle.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # of the number
        self._pauses = 0

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Keep it from running. Any thread may."""
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def _count(self, more: int) -> None:
        with self._lock:
            self._pauses += more
            if self._pauses:
                gc.disable()
            else:
                gc.enable()


COLLECTOR = GarbageCollector()


class RestingThread:
    """The one thread that parses for a model, which rests as long as it has worked.

    It holds the interpreter, and the event loop waits for that after each of its calls
    of the kernel: with many texts in a row, hits of others would wait for seconds. A
    text alone does not wait.
    """

    def __init__(
        self,
        name: str,
        clock: Callable[[], float] = perf_counter,
        rest: Callable[[float], None] = sleep,
    ) -> None:
        # Not started before the first text. A second would only be in the way.
        self._executor = ThreadPoolExecutor(1, f"parse-{name}")
        self._clock = clock
        self._rest = rest
        self._rests_until = 0.0  # by the clock

    def start(self, function: Callable[..., T], *arguments: Any) -> "asyncio.Future[T]":
        """Call a function in the thread."""
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._executor, self._call, function, *arguments)

    def _call(self, function: Callable[..., T], *arguments: Any) -> T:
        started = self._clock()
        if started < self._rests_until:
            self._rest(self._rests_until - started)
            started = self._clock()
        try:
            return function(*arguments)
        finally:
            ended = self._clock()
            self._rests_until = ended + (ended - started)
