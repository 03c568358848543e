"""Words for what a check saw of the cache itself."""

from collections.abc import Sequence

from gomlx.conformance.verdict import Exchange


def hits(what: str, exchanges: Sequence[Exchange]) -> str:
    """Say whether some requests were answered without a run."""
    ran = [one.ran for one in exchanges]
    if None in ran:
        return "whether it was a hit does not show"
    count = sum(not rows for rows in ran)
    if count == len(ran):
        return f"{what}: a hit"
    return f"{what}: {count} of {len(ran)} were hits (it costs runs, no answer)"
