"""The span that a program is in, for the requests that it sends."""

import sys


def trace_headers() -> dict[str, str]:
    """Return the headers that name the current span; none where there is no span.

    A program that has spans has imported OpenTelemetry: it is not imported here.
    """
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return {}
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    flags = int(context.trace_flags)
    headers = {
        "traceparent": f"00-{context.trace_id:032x}-{context.span_id:016x}-{flags:02x}"
    }
    if state := context.trace_state.to_header():
        headers["tracestate"] = state
    return headers
