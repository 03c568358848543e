"""The stores of a running service: adopted or made at its start, and kept."""

import logging
from collections.abc import Mapping
from pathlib import Path

from gomlx.cache.shared_memory.store import adopt_store, create_store, flaw_in_use

log = logging.getLogger(__name__)


class StoreKeeper:
    """For the process that decides which stores there are. sizes: in bytes."""

    def __init__(self, sizes: Mapping[Path, int]) -> None:
        self._sizes = sizes

    def start(self) -> None:
        """Adopt the stores of an earlier run that are sound; make the others.

        Raises StoreUnavailable if there is too little memory.
        """
        # Adopt all before creating any: one that has grown needs the freed memory.
        kept = {path for path, size in self._sizes.items() if adopt_store(path, size)}
        for path in self._sizes.keys() - kept:
            create_store(path, self._sizes[path])

    def keep(self) -> None:
        """Make anew each store that was removed, truncated or damaged.

        Workers leave the old one within a second, and open the new one within another.
        Raises StoreUnavailable if there is too little memory.
        """
        for path, size in self._sizes.items():
            if flaw := flaw_in_use(path, size):
                create_store(path, size)
                log.error("%s: begins anew, empty: %s", path.name, flaw)
