"""Every metric that workers count, declared once, with its help text and its labels.

Names end in their unit. Counters get `_total` from prometheus_client.
"""

from dataclasses import dataclass

SECONDS = (
    1e-5,
    2.5e-5,
    5e-5,
    1e-4,
    2.5e-4,
    5e-4,
    1e-3,
    2.5e-3,
    5e-3,
    1e-2,
    2.5e-2,
    5e-2,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
)
LAG_SECONDS = (2.5e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)


@dataclass(frozen=True)
class Declaration:
    """A metric's help text and the names of its labels."""

    help: str
    labels: tuple[str, ...]


@dataclass(frozen=True)
class HistogramDeclaration(Declaration):
    """bounds: the upper bounds of the buckets, ascending."""

    bounds: tuple[float, ...]


COUNTERS = {
    "gomlx_requests": Declaration(
        "Requests, by model and HTTP status.", ("model", "code")
    ),
    "gomlx_requests_canceled": Declaration(
        "Requests whose client had closed its side before the answer.", ("model",)
    ),
    "gomlx_cache_lookups": Declaration(
        "Rows looked up in a tier, by outcome: hit; miss; late (no answer in time); "
        "bad (not a valid answer); failed; skipped (the circuit breaker is open).",
        ("datastore", "tier", "outcome"),
    ),
    "gomlx_cache_writes": Declaration(
        "Rows to write to a tier, by outcome: written; dropped (the queue was full, "
        "the answer too long, or writes fail just now); failed.",
        ("datastore", "tier", "outcome"),
    ),
    "gomlx_flights_collapsed": Declaration(
        "Rows that waited for a computation already under way.", ("model",)
    ),
    "gomlx_model_runs": Declaration("Runs of a model.", ("model",)),
    "gomlx_model_runs_overlapping": Declaration(
        "Runs of a model that started while others of it were under way in the same "
        "worker.",
        ("model",),
    ),
    "gomlx_model_run_failures": Declaration(
        "Runs that TensorFlow refused.", ("model",)
    ),
    "gomlx_model_runs_outlasted": Declaration(
        "Runs of a model that took longer than its run_seconds.", ("model",)
    ),
    "gomlx_isolated_restarts": Declaration(
        "Processes of an isolated model that were started anew.", ("model",)
    ),
    "gomlx_loads": Declaration(
        "Loads of a version by a worker, by outcome: loaded; failed.",
        ("model", "outcome"),
    ),
}
HISTOGRAMS = {
    "gomlx_request_seconds": HistogramDeclaration(
        "Seconds from a request's last byte to its answer.", ("model",), SECONDS
    ),
    "gomlx_refusal_seconds": HistogramDeclaration(
        "Seconds from a request's last byte to its error response, or to its client's "
        "disconnect.",
        ("model",),
        SECONDS,
    ),
    "gomlx_cache_seconds": HistogramDeclaration(
        "Seconds a look-up in a tier took, for all of its rows together.",
        ("datastore", "tier"),
        SECONDS,
    ),
    "gomlx_model_run_seconds": HistogramDeclaration(
        "Seconds a run of a model took.", ("model",), SECONDS
    ),
    "gomlx_batch_rows": HistogramDeclaration(
        "Rows that ran together.", ("model",), ROWS
    ),
    "gomlx_loop_lag_seconds": HistogramDeclaration(
        "Seconds that an event loop was late to a beat, of 100 a second, if over 1 ms.",
        ("worker",),
        LAG_SECONDS,
    ),
}
GAUGES = {  # of all workers, the greatest value is shown
    "gomlx_tier_state": Declaration(
        "The circuit breaker of look-ups in a tier: 0 closed, 1 half-open, 2 open; of "
        "L1 2 while its memory cannot be used; the greatest of all workers.",
        ("datastore", "tier"),
    ),
    "gomlx_lookup_cpu_seconds": Declaration(
        "CPU seconds of a worker that a look-up of one row in a shared tier takes, "
        "measured when the worker starts; 0: not yet.",
        ("datastore", "tier"),
    ),
    "gomlx_tier_costs_more": Declaration(
        "1: a look-up in the tier takes more CPU than the run that a hit saves.",
        ("model", "datastore", "tier"),
    ),
    "gomlx_tier_skipped": Declaration(
        "1: the model does without the tier, by its skip_below_us.",
        ("model", "datastore", "tier"),
    ),
}
