"""Every metric that workers count, declared once, with its help text and its labels.

Names end in their unit. Counters get `_total` from prometheus_client. A bound of a
histogram is a series of each model or tier, so histograms have as many as they need: a
model may have 80 series, a tier 25.
"""

from dataclasses import dataclass

SECONDS = (
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
    10.0,
    30.0,
)
REFUSAL_SECONDS = (1e-3, 0.1, 1.0, 30.0)
LOOKUP_SECONDS = (1e-5, 1e-4, 5e-4, 1e-3, 2.5e-3, 1e-2, 0.1, 1.0)
RUN_SECONDS = (1e-4, 5e-4, 2.5e-3, 1e-2, 5e-2, 0.25, 1.0, 5.0, 30.0)
LAG_SECONDS = (2.5e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
ROWS = (1.0, 4.0, 16.0, 64.0, 256.0, 1024.0)


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
    "gomlx_unrouted_requests": Declaration(
        "Requests that are for no model, by HTTP status: unknown paths and ids, wrong "
        "methods, what is no HTTP, connections beyond the limit.",
        ("code",),
    ),
    "gomlx_request_bytes": Declaration(
        "Bytes of request bodies, and of the query strings of predictions.", ()
    ),
    "gomlx_response_bytes": Declaration(
        "Bytes of responses: of all that is sent on the routes of predictions and over "
        "HTTP/2, of bodies elsewhere.",
        (),
    ),
    "gomlx_worker_restarts": Declaration(
        "Workers that took the place of another one, by how that one ended: ended (it "
        "left by itself); died.",
        ("reason",),
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
    "gomlx_log_lines": Declaration(
        "Lines of the access log and of logs of rows (by model), by outcome: written; "
        "dropped (the queue was full, as of a slow disk); failed (to be written).",
        ("log", "model", "outcome"),
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
        REFUSAL_SECONDS,
    ),
    "gomlx_cache_seconds": HistogramDeclaration(
        "Seconds a look-up in a tier took, for all of its rows together.",
        ("datastore", "tier"),
        LOOKUP_SECONDS,
    ),
    "gomlx_model_run_seconds": HistogramDeclaration(
        "Seconds a run of a model took.", ("model",), RUN_SECONDS
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
