"""Recorded requests → spans of OpenTelemetry → a collector, over OTLP and HTTP.

The SDK's thread sends them, from a queue that is bounded: while no collector answers,
spans are dropped, and requests notice nothing. A thread does not survive a fork, so an
exporter is made in each worker.

What the config leaves out, the environment says: OTEL_EXPORTER_OTLP_…, OTEL_BSP_…,
OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER and its _ARG.
"""

import asyncio
import os
from collections.abc import Mapping

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from gomlx.tracing.trace import Attributes, Trace

_PATH = "v1/traces"  # below the endpoint, as the specification of OTLP has it
_FLUSH_SECONDS = 2.0
_KINDS = {
    "server": SpanKind.SERVER,
    "client": SpanKind.CLIENT,
    "internal": SpanKind.INTERNAL,
}


class TraceExporter:
    """Makes spans of recorded requests, and has them sent. For one process."""

    def __init__(self, processor: SpanProcessor, resource: Resource) -> None:
        # What is recorded was decided before: the SDK samples nothing.
        self._provider = TracerProvider(
            sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False
        )
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("gomlx")

    @classmethod
    def over_http(
        cls, endpoint: str | None, service: str | None, version: str
    ) -> "TraceExporter":
        """Return one that sends to a collector.

        endpoint: such as http://localhost:4318. None for it or the service's name: what
        the environment says, or localhost and gomlx.
        """
        url = f"{endpoint.rstrip('/')}/{_PATH}" if endpoint else None
        processor = BatchSpanProcessor(OTLPSpanExporter(url))
        name = service or os.environ.get("OTEL_SERVICE_NAME") or "gomlx"
        about: dict[str, str | int] = {
            "service.name": name,
            "service.version": version,
            "process.pid": os.getpid(),
        }
        return cls(processor, Resource.create(about))

    def export(
        self, trace: Trace, name: str, times: tuple[float, float], outcome: Attributes
    ) -> None:
        """Send a request's span and those of its steps.

        times: when it arrived and was answered, by `perf_counter`.
        """
        parent = None
        if trace.parent is not None:
            flags = TraceFlags(TraceFlags.SAMPLED)
            elsewhere = SpanContext(*trace.parent, is_remote=True, trace_flags=flags)
            parent = set_span_in_context(NonRecordingSpan(elsewhere))
        to_unix = trace.to_unix
        tracer = self._tracer
        request = tracer.start_span(
            name, parent, SpanKind.SERVER, outcome, start_time=_ns(times[0] + to_unix)
        )
        inside = set_span_in_context(request)
        for step in trace.steps():
            span = tracer.start_span(
                step.name,
                inside,
                _KINDS[step.kind],
                step.attributes,
                start_time=_ns(step.started + to_unix),
            )
            span.end(_ns(step.ended + to_unix))
        if int(outcome.get("http.response.status_code", 0)) >= 500:
            request.set_status(Status(StatusCode.ERROR))
        request.end(_ns(times[1] + to_unix))

    async def close(self) -> None:
        """Send what is queued, for a moment: this process is about to end."""
        milliseconds = int(_FLUSH_SECONDS * 1000)
        flushing = asyncio.to_thread(self._provider.force_flush, milliseconds)
        await asyncio.wait([asyncio.ensure_future(flushing)], timeout=_FLUSH_SECONDS)


def sample_ratio(given: float | None, environment: Mapping[str, str]) -> float:
    """Return the share of requests without a traceparent that is recorded.

    Raises ValueError if the environment's is no number from 0 to 1.
    """
    if given is not None:
        return given
    sampler = environment.get("OTEL_TRACES_SAMPLER", "").removeprefix("parentbased_")
    if sampler == "always_on":
        return 1.0
    if sampler != "traceidratio":
        return 0.0
    text = environment.get("OTEL_TRACES_SAMPLER_ARG", "1")
    try:
        ratio = float(text)
    except ValueError:
        ratio = -1
    if not 0 <= ratio <= 1:
        expected = "expected a number from 0 to 1"
        raise ValueError(f"OTEL_TRACES_SAMPLER_ARG: {expected}, got {text!r}")
    return ratio


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
