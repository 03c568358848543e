"""L0: answers that this process found in L1 during the last second."""


class InProcessCache:
    """answers: key → expiry and answer, all forgotten together. For one thread.

    PERF: its owner reads and fills the dict itself, since a method for each key would
    cost as much as the look-up. Without L0, walking LMDB's pages costs a tenth of a
    hit, and more while a model drives them out of the processor's caches.
    """

    __slots__ = ("answers", "began", "ends", "max_entries", "max_entry_bytes")

    def __init__(self, max_entries: int = 4096, max_entry_bytes: int = 1024) -> None:
        self.answers: dict[bytes, tuple[float, bytes]] = {}
        self.began = 0.0  # 0: not yet
        self.ends = 0.0
        self.max_entries = max_entries
        self.max_entry_bytes = max_entry_bytes

    def reset(self) -> None:
        """Forget all."""
        self.answers.clear()
        self.began = 0.0
        self.ends = 0.0

    def begin(self, now: float) -> None:
        """Let answers be added, for a second."""
        self.began = now
        self.ends = now + 1
