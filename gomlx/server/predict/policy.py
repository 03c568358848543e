"""Whether and how the answers of one model are cached."""

from typing import NamedTuple

from gomlx.cache.coalesce import Coalescer
from gomlx.cache.tiered import Tiered


class CachePolicy(NamedTuple):
    """How one model's answers are cached.

    cache: None when they are not; bypass_reason says why, in Cache-Status. coalescer:
    agrees with other processes on who computes a row; None: each computes for itself.
    """

    cache: Tiered | None
    coalescer: Coalescer | None = None
    bypass_reason: str = "no-datastore"

    @property
    def is_local(self) -> bool:
        """True when a row that misses in this host's memory is computed at once."""
        return self.coalescer is None and not (self.cache and self.cache.remotes)

    def in_effect(self, is_unsteady: bool) -> "CachePolicy":
        """Return the policy for a version; unsteady: equal rows have many answers."""
        if is_unsteady:
            return CachePolicy(None, bypass_reason="unsteady-model")
        return self

    def worthwhile(self, model: str, run_seconds: float) -> "CachePolicy":
        """Return the policy without the tiers that a model does without.

        run_seconds: how long it takes to compute the answer for one key. Processes
        that agree through such a tier compute each for itself, too.
        """
        if self.cache is None:
            return self
        cache = self.cache.worthwhile(model, run_seconds)
        if cache is self.cache:
            return self
        if cache.is_empty:
            return CachePolicy(None, bypass_reason="cheap-model")
        coalescer = self.coalescer
        names = ["", *(remote.name for remote in cache.remotes)]
        if coalescer is not None and coalescer.tier not in names:
            coalescer = None
        return CachePolicy(cache, coalescer)

    def can_fetch(self, rows: int) -> bool:
        """Return whether rows may be elsewhere, and are fetched before they run.

        In usable shared tiers, or at a process that computes them already. If not,
        the rows are counted as skipped.
        """
        if self.coalescer is not None:
            return True
        return self.cache is not None and self.cache.can_fetch(rows)
