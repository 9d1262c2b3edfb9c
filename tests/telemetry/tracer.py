"""The provider of this process, whose spans are kept in memory; it can be set once."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk", reason="missing: opentelemetry-sdk")

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import (
    InMemorySpanExporter,
)

MIDDLEWARE = ["django_workflow.telemetry.otel.Tracing"]

exported = InMemorySpanExporter()
_provider = TracerProvider()
_provider.add_span_processor(SimpleSpanProcessor(exported))
trace.set_tracer_provider(_provider)


def spans(name: str | None = None) -> list[ReadableSpan]:
    """Return what has ended, of one name or all."""
    found = exported.get_finished_spans()
    return [span for span in found if name is None or span.name == name]


def trace_ids(found: list[ReadableSpan] | None = None) -> set[int]:
    """Return the traces to which spans belong."""
    return {span.context.trace_id for span in (spans() if found is None else found) if span.context}


def trace_id_here(*_: Any) -> str:
    """Return the trace that is current."""
    return f"{trace.get_current_span().get_span_context().trace_id:032x}"
