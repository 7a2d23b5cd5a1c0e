"""OpenTelemetry: spans for attempt, verify, decide, mint, tool and release.

- Attributes are references and outcomes; a secret or an argument is never one.
- Where spans go is set by OpenTelemetry's own environment variables (``OTEL_TRACES_EXPORTER``,
  ``OTEL_EXPORTER_OTLP_ENDPOINT`` …); without them nothing is recorded.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext

from opentelemetry import trace
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.trace import Span, Status, StatusCode

from remit.errors import RemitError, Usage

_tracer = trace.get_tracer("remit")


_NOWHERE = nullcontext(trace.INVALID_SPAN)


def span(name: str, **attributes: str | int | float | bool) -> AbstractContextManager[Span]:
    """Open a span named e.g. ``remit.verify``; attributes get the prefix ``remit.``.

    An error sets the span's status to its code: exception texts stay out of traces. Where nobody has set a tracer
    provider there is nothing to record, and nothing is done.
    """
    return _recorded(name, attributes) if recording() else _NOWHERE


def recording() -> bool:
    """Tell whether somebody has set a tracer provider."""
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


@contextmanager
def _recorded(name: str, attributes: Mapping[str, str | int | float | bool]) -> Iterator[Span]:
    with _tracer.start_as_current_span(
        name,
        attributes={f"remit.{key}": value for key, value in attributes.items()},
        record_exception=False,
        set_status_on_exception=False,
    ) as current:
        try:
            yield current
        except BaseException as error:
            code = error.code if isinstance(error, RemitError) else type(error).__name__
            current.set_status(Status(StatusCode.ERROR, code))
            raise


def configured() -> bool:
    """Tell whether the environment asks for traces."""
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    return any(
        os.environ.get(name)
        for name in (
            "OTEL_TRACES_EXPORTER",
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        )
    )


def configure(service: str = "remit-worker") -> TracerProvider | None:
    """Send spans where the environment says; return the provider, or None when it asks for none.

    Raises:
        Usage: ``telemetry.exporter`` for an exporter that is unknown or not installed.
    """
    if not configured():
        return None
    name = os.environ.get("OTEL_TRACES_EXPORTER", "otlp")
    if name == "none":
        return None
    exporter: SpanExporter
    if name == "console":
        exporter = ConsoleSpanExporter()
    elif name == "otlp":
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        except ImportError:
            raise Usage(
                "the OTLP exporter is not installed",
                code="telemetry.exporter",
                next_action="Install it: pip install 'remit[otlp]'.",
            ) from None
        exporter = OTLPSpanExporter()
    else:
        raise Usage(
            f"OTEL_TRACES_EXPORTER={name!r} is not known",
            code="telemetry.exporter",
            next_action="Use otlp, console or none.",
        )
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: os.environ.get("OTEL_SERVICE_NAME", service)}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return provider
