"""Every metric that is a state, or is read when it is scraped, declared once."""

from dataclasses import dataclass

from gomlx.metrics.declarations import Declaration


@dataclass(frozen=True)
class GaugeDeclaration(Declaration):
    """Of all workers that run, the greatest value is shown; their sum if adds_up."""

    adds_up: bool = False


GAUGES = {
    "gomlx_requests_in_flight": GaugeDeclaration(
        "Requests whose rows wait, run or are fetched, those whose client has left "
        "included. Hits are answered at once, and are not among them.",
        ("model",),
        adds_up=True,
    ),
    "gomlx_queue_rows": GaugeDeclaration(
        "Rows that wait for a run.", ("model",), adds_up=True
    ),
    "gomlx_queue_seconds": GaugeDeclaration(
        "Seconds that the runs take before that of a new row; of the worker with the "
        "longest queue.",
        ("model",),
    ),
    "gomlx_last_load_timestamp_seconds": GaugeDeclaration(
        "Unix time at which a worker has loaded a version of the model last.",
        ("model",),
    ),
    "gomlx_connections": GaugeDeclaration("Open connections.", (), adds_up=True),
    "gomlx_tier_state": GaugeDeclaration(
        "The circuit breaker of look-ups in a tier: 0 closed, 1 half-open, 2 open; of "
        "L1 2 while its memory cannot be used; the greatest of all workers.",
        ("datastore", "tier"),
    ),
    "gomlx_lookup_cpu_seconds": GaugeDeclaration(
        "CPU seconds of a worker that a look-up of one row in a shared tier takes, "
        "measured when the worker starts; 0: not yet.",
        ("datastore", "tier"),
    ),
    "gomlx_tier_costs_more": GaugeDeclaration(
        "1: a look-up in the tier takes more CPU than the run that a hit saves.",
        ("model", "datastore", "tier"),
    ),
    "gomlx_tier_skipped": GaugeDeclaration(
        "1: the model does without the tier, by its skip_below_us.",
        ("model", "datastore", "tier"),
    ),
    "process_open_fds": GaugeDeclaration(
        "Files and sockets that a process has open.", ("process",)
    ),
    "process_max_fds": GaugeDeclaration(
        "Files and sockets that a process may open.", ("process",)
    ),
}
# Read when they are scraped. Counters have their whole name.
SCRAPED = {
    "gomlx_model_info": Declaration(
        "1 for each live version.",
        (
            "model",
            "version",
        ),
    ),
    "gomlx_model_up": Declaration("1: the newest files are live.", ("model",)),
    "gomlx_model_joins_rows": Declaration(
        "1: rows of different requests may run together; `gomlx inspect` says why not.",
        ("model",),
    ),
    "gomlx_reloads_total": Declaration(
        "Stagings, by outcome: published; unchanged (the files changed, the "
        "version did not); failed.",
        (
            "model",
            "outcome",
        ),
    ),
    "gomlx_last_staging_seconds": Declaration(
        "Seconds that the last staging took, of those that have succeeded.", ("model",)
    ),
    "gomlx_last_staging_timestamp_seconds": Declaration(
        "Unix time at which the last staging ended, of those that have succeeded.",
        ("model",),
    ),
    "gomlx_store_size_bytes": Declaration(
        "Bytes that a tier may hold: of L1, memory_mb, a fifth of it for the index; "
        "of a shared tier, its server's maxmemory, if it has one.",
        (
            "datastore",
            "tier",
        ),
    ),
    "gomlx_store_bytes": Declaration(
        "Bytes of a tier that hold answers; of a shared tier, all that its server "
        "uses, or all servers of its cluster.",
        (
            "datastore",
            "tier",
        ),
    ),
    "gomlx_store_entries": Declaration(
        "Answers in a tier; of L1, estimated from a sample; of a shared tier, all "
        "keys of its database.",
        (
            "datastore",
            "tier",
        ),
    ),
    "gomlx_store_evicted_bytes_total": Declaration(
        "Bytes of answers in L1 that newer ones have overwritten; the rate says "
        "how soon those that are not requested again are gone.",
        (
            "datastore",
            "tier",
        ),
    ),
    "gomlx_store_evicted_entries_total": Declaration(
        "Entries that the server of a shared tier has evicted for room.",
        (
            "datastore",
            "tier",
        ),
    ),
    "gomlx_tls_certificate_expiry_timestamp_seconds": Declaration(
        "Unix time at which the certificate in use expires.", ()
    ),
    "gomlx_tls_up": Declaration("1: the newest certificate is live and valid.", ()),
    "gomlx_build_info": Declaration(
        "1: the releases of gomlx, of Python and of TensorFlow.",
        (
            "version",
            "python",
            "tensorflow",
        ),
    ),
    "gomlx_workers": Declaration("Worker processes that run.", ()),
    "gomlx_workers_configured": Declaration("Worker processes that should run.", ()),
    "gomlx_gunicorn_restarts_total": Declaration(
        "Starts of Gunicorn's master after one that had ended.", ()
    ),
    "gomlx_draining": Declaration(
        "1: the service answers on, and is about to stop.", ()
    ),
    "process_cpu_seconds_total": Declaration(
        "Seconds of CPU that a process has used.", ("process",)
    ),
    "process_resident_memory_bytes": Declaration(
        "Bytes of memory of a process, those shared with others included.", ("process",)
    ),
    "process_virtual_memory_bytes": Declaration(
        "Bytes of addresses that a process has mapped.", ("process",)
    ),
    "process_start_time_seconds": Declaration(
        "Unix time at which a process has started.", ("process",)
    ),
}
