"""Values of a shared tier are untrusted: anyone who can write to it can forge them."""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence

from gomlx.cache.remote.commands import Commands
from gomlx.cache.remote.limits import TierLimits

log = logging.getLogger(__name__)

IsAnswer = Callable[[bytes], bool]


class Validator:
    """Keeps out values that are not answers, and deletes them from the tier."""

    def __init__(self, commands: Commands, limits: TierLimits) -> None:
        self._commands = commands
        self._max_value_bytes = limits.max_value_bytes
        self._is_read_only = limits.is_read_only
        self._level = logging.WARNING

    def is_valid(self, value: bytes, is_answer: IsAnswer) -> bool:
        """Return True for an answer that is not too long."""
        return len(value) <= self._max_value_bytes and is_answer(value)

    def sort(
        self, names: Mapping[bytes, IsAnswer], values: Collection[bytes | None]
    ) -> tuple[dict[bytes, bytes], list[bytes]]:
        """Return the hits, and the names of values that are not answers.

        values has one for each name, None where there is none.
        """
        found = {}
        bad = []
        for (name, is_answer), value in zip(names.items(), values, strict=True):
            if value is None:
                continue
            if self.is_valid(value, is_answer):
                found[name] = value
            else:
                bad.append(name)
        return found, bad

    def reject(self, names: Sequence[bytes]) -> None:
        """Delete values that are not answers, unless the tier is read-only."""
        log.log(
            self._level,
            "%s: %d values are not answers, for example that of %s",
            self._commands.name,
            len(names),
            names[0].decode(errors="replace"),
        )
        self._level = logging.DEBUG  # one warning is enough; a metric counts the rest
        if not self._is_read_only:
            self._commands.delete(names)
