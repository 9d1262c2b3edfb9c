"""An event reaches all who wait when it is sent, and is spent then."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, notify, workflow
from tests.cases.stage import Stage


@workflow(name="event_broadcast")
def sync(ctx: WorkflowContext[Any]) -> Any:
    return (ctx.wait_for_event("go", "go", timeout="1d")).event_data


@workflow(name="event_broadcast.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    return (await ctx.wait_for_event("go", "go", timeout="1d")).event_data


def play(stage: Stage) -> None:
    runs = [stage.trigger(), stage.trigger(), stage.trigger()]
    assert notify("go", "now").reached == 3
    late = stage.trigger()

    assert [run.refresh().result for run in runs] == ["now", "now", "now"]
    assert stage.box.waiting_on(late) == ["go"]
