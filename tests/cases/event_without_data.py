"""An event without data is no timeout."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, notify, workflow
from tests.cases.stage import Stage


@workflow(name="event_without_data")
def sync(ctx: WorkflowContext[Any]) -> Any:
    pickup = ctx.wait_for_event("pickup", "pickup:42")
    return [pickup.timed_out, pickup.event_data, len(pickup.events)]


@workflow(name="event_without_data.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    pickup = await ctx.wait_for_event("pickup", "pickup:42")
    return [pickup.timed_out, pickup.event_data, len(pickup.events)]


def play(stage: Stage) -> None:
    run = stage.trigger()
    stage.box.advance("6d")

    notify("pickup:42")

    assert run.refresh().result == [False, None, 1]
