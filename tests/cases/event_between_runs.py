"""A step of one run sends what another waits for, once."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from django_workflow.models import Event
from tests.cases.stage import Stage


@workflow(name="event_between_runs")
def sync(ctx: WorkflowContext[Any]) -> Any:
    if ctx.request_payload == "waits":
        got = ctx.wait_for_event("got", "ping", timeout="1d")
        return got.event_data
    sent = ctx.notify("send", "ping", 1)
    return [sent.event_id, sent.event_data, sent.reached]


@workflow(name="event_between_runs.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    if ctx.request_payload == "waits":
        got = await ctx.wait_for_event("got", "ping", timeout="1d")
        return got.event_data
    sent = await ctx.notify("send", "ping", 1)
    return [sent.event_id, sent.event_data, sent.reached]


def play(stage: Stage) -> None:
    waits = stage.trigger("waits")
    sends = stage.trigger("sends")

    assert waits.refresh().result == 1
    assert sends.refresh().result == ["ping", 1, 1]
    assert stage.box.steps(sends) == ["send"]
    assert list(Event.objects.values_list("event_id", "reached")) == [("ping", 1)]
