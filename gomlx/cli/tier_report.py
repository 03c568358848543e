"""What `gomlx check --connect` finds out about each model and shared tier."""

from collections.abc import Iterable
from dataclasses import dataclass

from gomlx.cli.connect import ConnectionResult
from gomlx.cli.model_report import ModelReport
from gomlx.config.schema import Config
from gomlx.models.version import model_of


@dataclass(frozen=True)
class TierReport:
    """What a hit in a tier saves a model, and what a look-up costs, in microseconds.

    is_skipped: the model does without the tier, by its skip_below_us.
    """

    model: str
    tier: str
    run_us: float
    lookup_us: float
    is_skipped: bool

    @property
    def is_wasteful(self) -> bool:
        """Whether the tier costs more than it saves, and is used all the same."""
        return self.run_us < self.lookup_us and not self.is_skipped

    def __str__(self) -> str:
        """Say what to do, or what is done."""
        measured = (
            f"a run takes {self.run_us:.0f} us, a look-up {self.lookup_us:.0f} us"
            " of a worker's CPU"
        )
        if self.is_skipped:
            return f"model {self.model} does without tier {self.tier}: {measured}"
        if self.is_wasteful:
            return (
                f"model {self.model}: tier {self.tier} costs more than it saves:"
                f" {measured}; set `skip_below_us: auto` on it"
            )
        return f"model {self.model} uses tier {self.tier}: {measured}"


def tier_reports(
    config: Config,
    models: Iterable[ModelReport],
    connections: Iterable[ConnectionResult],
) -> list[TierReport]:
    """Report on the models that were staged and the connections that were tried."""
    lookups = {one.id: one.lookup_us for one in connections if one.lookup_us}
    configured = {one.id: one for one in config.models}
    return [
        TierReport(
            model.id,
            tier.connection,
            run_us,
            lookups[tier.connection],
            tier.skips(run_us / 1e6, lookups[tier.connection] / 1e6),
        )
        for model in models
        if (run_us := model.run_us)
        and (store := config.datastore_of(configured[model_of(model.id)]))
        for tier in store.tiers
        if tier.connection in lookups
    ]
