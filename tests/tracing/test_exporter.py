"""From what is recorded to OpenTelemetry's spans; what the environment says."""

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from gomlx.tracing.exporter import TraceExporter, sample_ratio
from gomlx.tracing.parent import Parent
from gomlx.tracing.trace import MOST_STEPS, Step, Trace


def test_steps_are_children_of_the_request() -> None:
    spans = InMemorySpanExporter()
    exporter = TraceExporter(SimpleSpanProcessor(spans), Resource.create({}))
    trace = Trace(Parent(7, 9))
    trace.to_unix = 100.0
    trace.add(Step("look up L1", 1.0, 1.5))
    for _ in range(3):
        trace.ran(2.0, 2.5, 3.0)
    trace.ran(2.0, 3.0, 4.0)
    exporter.export(trace, "POST /", (1.0, 4.0), {"http.response.status_code": 503})
    *inside, request = spans.get_finished_spans()
    assert request.parent
    assert (request.parent.trace_id, request.parent.span_id) == (7, 9)
    assert request.start_time == 101 * 10**9
    assert not request.status.is_ok
    names = ["look up L1", "queue", "run", "queue", "run"]
    assert [one.name for one in inside] == names
    assert [dict(one.attributes or {}) for one in inside[1:3]] == [
        {"gomlx.rows": 3}
    ] * 2
    assert inside[2].end_time == 103 * 10**9
    assert all(one.parent == request.context for one in inside)


def test_a_trace_is_bounded() -> None:
    trace = Trace(None)
    for n in range(1000):
        trace.add(Step("look up", n, n + 1))
        trace.ran(n, n + 1, n + 2)
    assert len(trace.steps()) == MOST_STEPS


@pytest.mark.parametrize(
    ("given", "sampler", "argument", "ratio"),
    [
        (0.25, "always_on", "", 0.25),
        (None, "always_on", "", 1.0),
        (None, "parentbased_always_on", "", 1.0),
        (None, "parentbased_traceidratio", "0.5", 0.5),
        (None, "traceidratio", "", 1.0),
        (None, "always_off", "", 0.0),
        (None, "", "0.5", 0.0),
    ],
)
def test_the_ratio_of_the_config_or_of_the_environment(
    given: float | None, sampler: str, argument: str, ratio: float
) -> None:
    environment = {"OTEL_TRACES_SAMPLER": sampler}
    if argument:
        environment["OTEL_TRACES_SAMPLER_ARG"] = argument
    assert sample_ratio(given, environment) == ratio


@pytest.mark.parametrize("argument", ["2", "-1", "much", "nan"])
def test_a_wrong_ratio_of_the_environment_is_named(argument: str) -> None:
    environment = {
        "OTEL_TRACES_SAMPLER": "traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": argument,
    }
    with pytest.raises(ValueError, match="OTEL_TRACES_SAMPLER_ARG"):
        sample_ratio(None, environment)
