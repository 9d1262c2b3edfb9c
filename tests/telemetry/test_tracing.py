"""Traces: one per run over all its passes, gone on with in bodies, calls and children; nothing where nobody asked."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.test import override_settings
from opentelemetry import trace

from django_workflow import (
    AsyncWorkflowContext,
    NonRetryableError,
    WorkflowContext,
    notify,
    workflow,
)
from django_workflow.core.codec import codec
from django_workflow.core.middleware import RunInfo
from django_workflow.models import Run, Schedule
from django_workflow.runtime.announcing import _made
from django_workflow.runtime.worker import drain
from django_workflow.telemetry.otel import context_of
from django_workflow.testing import WorkflowSandbox
from tests.telemetry.tracer import MIDDLEWARE, exported, spans, trace_id_here, trace_ids
from tests.transports.wsgi import DjangoTransport, http_through, served_at

tracing = override_settings(WORKFLOW={"MIDDLEWARE": MIDDLEWARE, "DISPATCHER": "embedded"})


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    _made.cache_clear()
    exported.clear()
    yield
    _made.cache_clear()


tries: list[int] = []


def flaky() -> str:
    tries.append(1)
    if len(tries) < 3:
        raise ValueError("not yet")
    return trace_id_here()


@workflow(name="traced_child")
def child(ctx: WorkflowContext[Any]) -> str:
    return ctx.run("look", trace_id_here)


@workflow(name="traced", retries=5, retry_delay="1m")
def parent(ctx: WorkflowContext[Any]) -> Any:
    seen = ctx.run("look", trace_id_here)
    ctx.sleep("rest", "1h")
    retried = ctx.run("flaky", flaky)
    event = ctx.wait_for_event("pickup", "traced:pickup", timeout="1d")
    below = ctx.invoke("below", child)
    return [seen, retried, event.event_data, below, ctx.atomic("atomic", trace_id_here)]


@workflow(name="traced_async")
async def async_parent(ctx: AsyncWorkflowContext[Any]) -> Any:
    async def body() -> str:
        return trace_id_here()

    first = await ctx.run("look", body)
    return [first, await ctx.run("sync", trace_id_here), await ctx.invoke("below", child)]


@workflow(name="traced_bad")
def bad(ctx: WorkflowContext[Any]) -> None:
    ctx.sleep("rest", "1h")
    ctx.run("refuse", refuse)


def refuse() -> None:
    raise NonRetryableError("no")


@pytest.mark.django_db
@tracing
def test_one_trace_over_all_passes_steps_waits_and_children() -> None:
    tries.clear()
    with WorkflowSandbox() as box:
        run = parent.trigger()
        box.advance("2h")
        notify("traced:pickup", "Ann")
        run.refresh()

    [trace_id] = trace_ids()
    seen, retried, by, below, atomic = run.result
    assert by == "Ann"
    assert {seen, retried, below, atomic} == {f"{trace_id:032x}"}
    assert len(spans("pass traced")) >= 3
    assert len(spans("attempt flaky")) == 3
    [whole] = spans("run traced")
    assert whole.attributes is not None
    assert whole.attributes["workflow.run.id"] == run.id
    [rest] = spans("sleep rest")
    assert rest.end_time is not None
    assert rest.start_time is not None
    assert rest.end_time - rest.start_time >= 3600 * 10**9
    [step] = spans("step flaky")
    assert step.attributes is not None
    assert step.attributes["workflow.step.attempt"] == 3
    assert step.end_time is not None
    assert step.start_time is not None
    assert step.end_time - step.start_time >= 120 * 10**9
    assert len(spans("wait pickup")) == len(spans("child below")) == 1
    assert len(spans("run traced_child")) == 1


@pytest.mark.django_db
@tracing
def test_attempts_stand_in_their_pass_and_tell_what_was_raised() -> None:
    tries.clear()
    with WorkflowSandbox() as box:
        parent.trigger()
        box.advance("2h")

    passes = {span.context.span_id for span in spans("pass traced") if span.context}
    attempts = spans("attempt flaky")
    assert all(span.parent is not None and span.parent.span_id in passes for span in attempts)
    failed, again, good = attempts
    assert not failed.status.is_ok
    assert not again.status.is_ok
    assert good.status.is_ok
    assert failed.events[0].attributes is not None
    assert failed.events[0].attributes["exception.message"] == "not yet"


@pytest.mark.django_db
@tracing
def test_async_bodies_and_children_are_in_the_trace() -> None:
    with WorkflowSandbox():
        run = async_parent.trigger()

    [trace_id] = trace_ids()
    assert set(run.result) == {f"{trace_id:032x}"}


@pytest.mark.django_db
@tracing
def test_run_goes_on_in_the_trace_in_which_it_was_triggered() -> None:
    with WorkflowSandbox():
        with trace.get_tracer("shop").start_as_current_span("request") as request:
            first, second = child.trigger(), child.trigger()
        apart = child.trigger()

    own = f"{request.get_span_context().trace_id:032x}"
    assert [first.result, second.result] == [own, own]
    assert apart.result != own
    [above] = [span for span in spans("trigger traced_child") if span.context and span.parent][:1]
    assert above.parent is not None
    assert above.parent.span_id == request.get_span_context().span_id


@pytest.mark.django_db
@tracing
def test_a_sampler_that_drops_the_trigger_drops_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    unsampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
    with WorkflowSandbox():
        run = child.trigger(delay="1h")
        Run.objects.filter(pk=run.id).update(
            options_text=codec.dumps({"carried": {"traceparent": unsampled}}, what="options")
        )
        exported.clear()

    with WorkflowSandbox() as box:
        box.advance("2h")

    assert spans() == []


@pytest.mark.django_db(transaction=True)
def test_run_that_was_triggered_without_tracing_has_a_trace_of_its_own() -> None:
    run = child.trigger()
    other = child.trigger()
    with tracing:
        drain()

    run.refresh()
    other.refresh()
    assert run.result != other.result
    ids = {f"{one:032x}" for one in trace_ids()}
    assert ids == {run.result, other.result}


def test_the_trace_of_an_id_is_the_same_in_every_process() -> None:
    about = RunInfo(workflow_run_id="order-42", workflow="w", version="1")
    first = trace.get_current_span(context_of(about)).get_span_context()

    assert f"{first.trace_id:032x}" == "ec767c8310b5bb94b292a9ccd16d3e8d"
    assert first == trace.get_current_span(context_of(about)).get_span_context()


@pytest.mark.django_db
@tracing
def test_resumed_run_tells_its_waits_once() -> None:
    with WorkflowSandbox() as box:
        run = bad.trigger()
        box.advance("2h")
        assert not spans("run traced_bad")[0].status.is_ok
        run.refresh()
        run.resume()

    assert len(spans("run traced_bad")) == 2
    assert len(spans("sleep rest")) == 1


@pytest.mark.django_db
@tracing
def test_cancelled_run_has_its_span() -> None:
    with WorkflowSandbox():
        run = bad.trigger()
        run.cancel()

    [whole] = spans("run traced_bad")
    assert whole.attributes is not None
    assert whole.attributes["workflow.run.status"] == "cancelled"


@pytest.mark.django_db(transaction=True)
def test_run_over_http_is_one_trace_too() -> None:
    served = served_at("http://testserver", TRANSPORT="http", MIDDLEWARE=MIDDLEWARE)
    with served, http_through(DjangoTransport()):
        run = child.trigger()
        drain()

    run.refresh()
    assert trace_ids() == {int(run.result, 16)}


@pytest.mark.django_db
def test_nothing_is_kept_or_told_where_nobody_asked() -> None:
    with WorkflowSandbox():
        run = child.trigger()

    assert Run.objects.get(pk=run.id).options_text == "{}"
    assert spans() == []


@pytest.mark.django_db
def test_carry_that_raises_is_logged_and_changes_nothing(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def boom(*_: Any) -> Any:
        raise RuntimeError("boom")

    monkeypatch.setattr("django_workflow.telemetry.otel.Tracing.carry", boom)
    with tracing, WorkflowSandbox(), caplog.at_level(logging.ERROR):
        run = child.trigger()

    assert run.status == "completed"
    assert "Tracing.carry raised" in caplog.text


@pytest.mark.django_db
@tracing
def test_rehearsal_is_not_traced() -> None:
    with WorkflowSandbox():
        bad.trigger()
        exported.clear()
        assert "fits" in rehearsed()

    assert spans() == []


def rehearsed() -> str:
    out = StringIO()
    call_command("workflow_check", "--against", stdout=out)
    return out.getvalue()


@workflow(name="traced_clock")
def on_the_clock(ctx: WorkflowContext[Any]) -> str:
    return ctx.run("look", trace_id_here)


@pytest.mark.django_db
@tracing
def test_runs_of_a_schedule_and_restarts_have_traces_of_their_own() -> None:
    with WorkflowSandbox() as box:
        schedule = on_the_clock.schedule("@hourly", schedule_id="traced")
        kept = Schedule.objects.get(pk="traced").template_text
        on_the_clock.schedule("@hourly", schedule_id="traced")
        assert Schedule.objects.get(pk="traced").template_text == kept
        box.advance("2h")
        runs = list(Run.objects.filter(workflow="traced_clock"))
        first = child.trigger()
        again = first.restart()

    assert schedule.id == "traced"
    assert len(runs) == 2
    assert runs[0].result != runs[1].result
    assert again.refresh().result != first.result


@workflow(name="traced_generations")
def generations(ctx: WorkflowContext[Any]) -> None:
    ctx.sleep("rest", "1h")
    if ctx.generation < 2:
        ctx.continue_as_new()


@pytest.mark.django_db
@tracing
def test_waits_of_earlier_generations_are_told() -> None:
    with WorkflowSandbox() as box:
        generations.trigger()
        box.advance("4h")

    assert len(spans("sleep rest")) == 3
    assert len(spans("run traced_generations")) == 1
    assert len(trace_ids()) == 1
