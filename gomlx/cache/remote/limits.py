"""What a shared tier may cost."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TierLimits:
    """The limits of one shared tier.

    A value of more than max_value_bytes is not an answer.
    """

    deadline_seconds: float
    ttl_seconds: float
    max_value_bytes: int
    queue_bytes: int
    is_read_only: bool
