"""Spans: nothing is done where nobody records; what is recorded holds codes and no exception text."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from remit import telemetry
from remit.errors import Denied


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    monkeypatch.setattr(telemetry, "_tracer", provider.get_tracer("remit"))
    yield exporter
    provider.shutdown()


def test_without_a_provider_nothing_is_recorded_and_errors_pass() -> None:
    with telemetry.span("remit.verify", step=1) as span:
        assert not span.is_recording()
    with pytest.raises(Denied), telemetry.span("remit.verify"):
        raise Denied("no")


def test_a_span_has_references_and_codes_only(recorded: InMemorySpanExporter) -> None:
    with pytest.raises(Denied), telemetry.span("remit.authorize", task="t"), telemetry.span("remit.decide", step=2):
        raise Denied("the password is hunter2", code="policy.denied")
    inner, outer = recorded.get_finished_spans()
    assert (inner.name, dict(inner.attributes or {})) == ("remit.decide", {"remit.step": 2})
    assert inner.parent is not None
    assert inner.parent.span_id == outer.context.span_id
    for span in (inner, outer):
        assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "policy.denied")
        assert not span.events
