"""What a shared tier costs, and from which cost of a run on it pays.

Figures of one run of `python -m loadtests.tiers`: Redis on loopback, one row at a time,
in microseconds of CPU. Their ratios travel better than they do.
"""

LOOKUP_US = 65.2
WRITE_US = 68.6
TTL_US = 43.3  # of a hit, to promote it
SERVER_LOOKUP_US = 10.5
SERVER_WRITE_US = 10.7
SERVER_TTL_US = 9.9


def break_even(hit_ratio: float) -> float:
    """Return what a run must cost for a tier to save a worker's CPU, in look-ups.

    hit_ratio: of the look-ups in the tier. Each costs a look-up; a hit is promoted, and
    saves the run; the answer to a miss is written.
    """
    extra = hit_ratio * TTL_US + (1 - hit_ratio) * WRITE_US
    return (1 + extra / LOOKUP_US) / hit_ratio


def server_cores(lookups: float, computed: float) -> float:
    """Return how many cores of Redis are busy, by look-ups and writes a second."""
    hits = lookups - computed
    microseconds = (
        lookups * SERVER_LOOKUP_US + computed * SERVER_WRITE_US + hits * SERVER_TTL_US
    )
    return microseconds / 1e6
