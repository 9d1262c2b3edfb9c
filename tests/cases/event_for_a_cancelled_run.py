"""A run that was cancelled takes no event from those who still wait."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, notify, workflow
from tests.cases.stage import Stage


@workflow(name="event_for_a_cancelled_run")
def sync(ctx: WorkflowContext[Any]) -> Any:
    return (ctx.wait_for_event("go", "go", timeout="1d")).event_data


@workflow(name="event_for_a_cancelled_run.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    return (await ctx.wait_for_event("go", "go", timeout="1d")).event_data


def play(stage: Stage) -> None:
    run = stage.trigger()
    run.cancel()
    assert run.waiters.count() == 0

    assert notify("go", 1).reached == 0
    assert stage.trigger().result == 1
