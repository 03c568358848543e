"""Whether a shared tier costs a model more than it saves.

A look-up that hits saves a run. Where a run for one key takes less than a look-up of
one key, the tier costs more than it can save, whatever its hit ratio.
"""

from collections.abc import Callable
from math import inf
from secrets import token_hex
from time import thread_time

from gomlx.cache.remote.lookups import Lookups
from gomlx.metrics.instruments import Counter, Gauge

_LOOKUPS = 32

ModelGauge = Callable[[str, str], Gauge]
# (seconds of a run, of a look-up; 0: unknown) → whether the tier is left out.
SkipRule = Callable[[float, float], bool]


def _never(*_: float) -> bool:
    return False


def _unshown(*_: str) -> Gauge:
    return Gauge()


class Worth:
    """What a look-up of one key costs in a tier, and which models do without it.

    lookup_seconds: CPU of the event loop's thread; 0: not measured. skipped: the models
    that do without the tier.
    """

    def __init__(
        self,
        rule: SkipRule = _never,
        cost: Gauge | None = None,
        gauge: ModelGauge = _unshown,
    ) -> None:
        """cost: shows lookup_seconds. gauge: (metric, model) → gauge."""
        self.lookup_seconds = 0.0
        self.skipped: set[str] = set()
        self._rule = rule
        self._cost = cost or Gauge()
        self._gauge = gauge

    def note_lookup(self, seconds: float) -> None:
        """Note what a look-up costs."""
        self.lookup_seconds = seconds
        self._cost.value = seconds

    def skips(self, model: str, run_seconds: float) -> bool:
        """Decide whether a model does without the tier, and show it.

        run_seconds: how long it takes to compute the answer for one key.
        """
        costs_more = run_seconds < self.lookup_seconds
        is_skipped = self._rule(run_seconds, self.lookup_seconds)
        self._gauge("gomlx_tier_costs_more", model).value = costs_more
        self._gauge("gomlx_tier_skipped", model).value = is_skipped
        if is_skipped:
            self.skipped.add(model)
        else:
            self.skipped.discard(model)
        return is_skipped

    def keep_models(self, is_kept: Callable[[str], bool]) -> None:
        """Forget the models that are gone."""
        self.skipped = set(filter(is_kept, self.skipped))


async def lookup_cpu_seconds(lookups: Lookups, missed: Counter) -> float:
    """Return what a look-up of one key takes of this thread's CPU; 0 if one fails.

    missed: counts the look-ups that succeed. The name that is looked up has no value: a
    hit costs a little more. It is the least of several, since the event loop may have
    other work meanwhile.
    """
    name = b"gomlx:1:check:%b" % token_hex(16).encode()
    missed.n = 0
    least = inf
    for n in range(_LOOKUPS):
        started = thread_time()
        await lookups.get_many([name], _is_no_answer)
        seconds = thread_time() - started
        if missed.n <= n:
            return 0.0
        least = min(least, seconds)
    return least


def _is_no_answer(_: bytes) -> bool:
    return False
