"""A kept event is gone when its retention is over."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, notify, workflow
from tests.cases.stage import Stage


@workflow(name="event_expires")
def sync(ctx: WorkflowContext[Any]) -> Any:
    return (ctx.wait_for_event("go", "go", timeout="1d")).timed_out


@workflow(name="event_expires.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    return (await ctx.wait_for_event("go", "go", timeout="1d")).timed_out


def play(stage: Stage) -> None:
    notify("go")
    stage.box.advance("7d")
    run = stage.trigger()
    assert stage.box.waiting_on(run) == ["go"]

    stage.box.advance("1d")
    assert run.refresh().result is True
