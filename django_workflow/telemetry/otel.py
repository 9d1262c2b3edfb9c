"""OpenTelemetry: one trace per run, over all its passes, processes and days.

``WORKFLOW["MIDDLEWARE"] = ["django_workflow.telemetry.otel.Tracing"]``. The trace is begun by the trigger, or goes on from the
trace that it is called in, and its context is kept with the run; a run that was triggered without (by a schedule, by a
process that does not trace) gets one that follows from its ID. What has a beginning in one process and its end in another
(waits, steps that were retried, the run) becomes a span when it is over, with the times that the database kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from django_workflow.conf import settings
from django_workflow.core.middleware import Middleware, OutgoingCall, RunInfo, StepInfo
from django_workflow.core.types import DEAD_LETTER, Failure, StepKind
from django_workflow.models import Action, PastStep, Run, Step

#: What a run waits for, and what is spread over passes: seen when the run has ended.
WAITED: Final = {
    StepKind.SLEEP: "sleep",
    StepKind.SLEEP_UNTIL: "sleep",
    StepKind.WAIT_FOR_EVENT: "wait",
    StepKind.WAIT_FOR_WEBHOOK: "wait",
    StepKind.WAIT_FOR_APPROVAL: "wait",
    StepKind.INVOKE: "child",
    StepKind.MAP: "map",
}
#: A run of many more waits than this tells of the latest.
MOST_WAITS: Final = 1_000

_kept = TraceContextTextMapPropagator()


class Tracing(Middleware):
    """The middleware that traces; names and attributes are listed in ``docs/how-to/observe.md``."""

    def __init__(self) -> None:
        self._tracer = trace.get_tracer("django_workflow")

    def carry(self, run: RunInfo) -> Mapping[str, str]:
        """Begin the run's trace, in the one that is current here if there is one."""
        kept: dict[str, str] = {}
        with self._tracer.start_as_current_span(
            f"trigger {run.workflow}", kind=SpanKind.PRODUCER, attributes=_of_run(run)
        ):
            _kept.inject(kept)
        return kept

    @contextmanager
    def around_pass(self, run: RunInfo) -> Iterator[None]:
        """Make a span of each pass."""
        # The request that brought the delivery has a trace of its own, where requests are traced.
        here = trace.get_current_span().get_span_context()
        context = context_of(run)
        own = trace.get_current_span(context).get_span_context()
        links = [Link(here)] if here.is_valid and here.trace_id != own.trace_id else []
        with self._tracer.start_as_current_span(
            f"pass {run.workflow}",
            context=context,
            kind=SpanKind.CONSUMER,
            attributes=_of_run(run),
            links=links,
        ):
            yield

    @contextmanager
    def around_step(self, run: RunInfo, step: StepInfo) -> Iterator[None]:
        """Make a span of each attempt; it is the current one in the body."""
        with self._tracer.start_as_current_span(
            f"attempt {step.name}", attributes=_of_run(run) | _of_step(step)
        ):
            yield

    @contextmanager
    def around_call(self, run: RunInfo, step: StepInfo, call: OutgoingCall) -> Iterator[None]:
        """Make a span of each request, and send its context along."""
        with self._tracer.start_as_current_span(
            f"call {step.name}",
            context=context_of(run),
            kind=SpanKind.CLIENT,
            attributes=_of_run(run)
            | _of_step(step)
            | {"http.request.method": call.method, "url.full": call.url},
        ) as span:
            propagate.inject(call.headers)
            yield
            if call.status is not None:
                span.set_attribute("http.response.status_code", call.status)
                if call.status >= 400:
                    span.set_status(Status(StatusCode.ERROR))

    def step_completed(self, run: RunInfo, step: StepInfo) -> None:
        """Make a span of a step that needed several attempts."""
        self._step_over(run, step, None)

    def step_failed(self, run: RunInfo, step: StepInfo, failure: Failure) -> None:
        """Make a span of a step that has given up after several attempts."""
        self._step_over(run, step, failure)

    def run_completed(self, run: RunInfo) -> None:
        """Make spans of the run and of its waits."""
        self._run_over(run, None)

    def run_failed(self, run: RunInfo, failure: Failure) -> None:
        """Make spans of the run and of its waits."""
        self._run_over(run, failure.message)

    def run_cancelled(self, run: RunInfo) -> None:
        """Make spans of the run and of its waits."""
        self._run_over(run, None)

    def _step_over(self, run: RunInfo, step: StepInfo, failure: Failure | None) -> None:
        if step.attempt < 2:
            return
        found = Step.objects.using(settings().DATABASE)
        row = found.filter(run_id=run.workflow_run_id, key=step.key).first()
        if row is not None:
            why = None if failure is None else failure.message
            self._past(run, f"step {step.name}", row, _of_step(step), why)

    def _run_over(self, run: RunInfo, why: str | None) -> None:
        row = Run.objects.using(settings().DATABASE).filter(pk=run.workflow_run_id).first()
        if row is None:
            return
        since = _last_end(row)
        for step in _waits(row):
            if step.finished_at is None or (since is not None and step.finished_at <= since):
                continue
            about = {"workflow.step.name": step.name, "workflow.step.kind": step.kind}
            self._past(run, f"{WAITED[StepKind(step.kind)]} {step.name}", step, about, None)
        about = {"workflow.run.status": str(row.status), "workflow.run.generation": row.generation}
        self._past(run, f"run {run.workflow}", row, about, why)

    def _past(
        self,
        run: RunInfo,
        name: str,
        row: Any,
        attributes: Mapping[str, Any],
        why: str | None,
    ) -> None:
        """Make a span of what is over."""
        span = self._tracer.start_span(
            name,
            context=context_of(run),
            start_time=_nanoseconds(row.created_at),
            attributes=_of_run(run) | dict(attributes),
        )
        if why is not None:
            span.set_status(Status(StatusCode.ERROR, why))
        span.end(None if row.finished_at is None else _nanoseconds(row.finished_at))


def context_of(run: RunInfo) -> Context:
    """Return the context in which a run's spans stand: the one kept with it, or one that follows from its ID."""
    context = _kept.extract(run.carried)
    if trace.get_current_span(context).get_span_context().is_valid:
        return context
    seed = f"{run.workflow_run_id} {run.created_at.isoformat() if run.created_at else ''}"
    digest = hashlib.sha256(seed.encode()).digest()
    parent = SpanContext(
        trace_id=int.from_bytes(digest[:16]),
        span_id=int.from_bytes(digest[16:24]),
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )
    return trace.set_span_in_context(NonRecordingSpan(parent), Context())


def _of_run(run: RunInfo) -> dict[str, Any]:
    return {
        "workflow.name": run.workflow,
        "workflow.version": run.version,
        "workflow.run.id": run.workflow_run_id,
    }


def _of_step(step: StepInfo) -> dict[str, Any]:
    return {
        "workflow.step.name": step.name,
        "workflow.step.key": step.key,
        "workflow.step.kind": str(step.kind),
        "workflow.step.attempt": step.attempt,
    }


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000) * 1_000


def _last_end(row: Run) -> datetime | None:
    """Return when a run that was resumed had ended before: what was told of then is not told again."""
    resumed = Action.objects.using(settings().DATABASE).filter(
        run_id=row.pk, verb="resume", before__in=[str(state) for state in DEAD_LETTER]
    )
    moment: datetime | None = resumed.order_by("-at").values_list("at", flat=True).first()
    return moment


def _waits(row: Run) -> Iterable[Any]:
    kinds = [kind.value for kind in WAITED]
    alias = settings().DATABASE
    yield from (
        Step.objects.using(alias).filter(run_id=row.pk, kind__in=kinds).order_by("-id")[:MOST_WAITS]
    )
    if row.generation:
        earlier = PastStep.objects.using(alias).filter(generation__run_id=row.pk, kind__in=kinds)
        yield from earlier.order_by("-id")[:MOST_WAITS]
