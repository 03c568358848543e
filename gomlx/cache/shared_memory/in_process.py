"""L0: answers that this process found in L1 during the last second."""


class InProcessCache:
    """answers: key → expiry and answer, all forgotten together. For one thread.

    PERF: the finder reads and fills the dict itself, since a method for each key would
    cost as much as the look-up. Without L0 a hit costs ten times as much (python -m
    loadtests.l1.costs), and more while a model drives the ring out of the processor's
    caches.
    """

    __slots__ = ("answers", "began", "ends", "max_entries", "max_entry_bytes")

    def __init__(self, max_entries: int = 4096, max_entry_bytes: int = 1024) -> None:
        self.answers: dict[bytes, tuple[float, bytes]] = {}
        self.began = 0.0
        self.ends = 0.0
        self.max_entries = max_entries
        self.max_entry_bytes = max_entry_bytes

    def restart(self, now: float) -> None:
        """Forget all, and let answers be added for a second."""
        self.answers.clear()
        self.began = now
        self.ends = now + 1

    @property
    def has_room(self) -> bool:
        """Whether one more answer may be added."""
        return len(self.answers) < self.max_entries
