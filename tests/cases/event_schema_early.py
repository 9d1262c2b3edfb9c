"""An event that nobody waits for is kept unasked; a later wait passes over those that do not fit."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, notify, workflow
from tests.cases.event_schema import even
from tests.cases.stage import Stage


@workflow(name="event_schema_early")
def sync(ctx: WorkflowContext[Any]) -> Any:
    return ctx.wait_for_event("number", "number", timeout="1d", schema=even).event_data


@workflow(name="event_schema_early.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    return (await ctx.wait_for_event("number", "number", timeout="1d", schema=even)).event_data


def play(stage: Stage) -> None:
    assert notify("number", 5).reached == 0
    assert notify("number", 4).reached == 0
    run = stage.trigger()
    assert run.refresh().result == {"even": 4}
