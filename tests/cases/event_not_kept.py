"""An event that is not to be kept is gone when nobody waits; a lookback limits the age of kept ones."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, notify, workflow
from tests.cases.stage import Stage


@workflow(name="event_not_kept")
def sync(ctx: WorkflowContext[Any]) -> Any:
    fresh = ctx.wait_for_event("fresh", "news", timeout="1d", lookback="1h")
    return fresh.event_data


@workflow(name="event_not_kept.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    fresh = await ctx.wait_for_event("fresh", "news", timeout="1d", lookback="1h")
    return fresh.event_data


def play(stage: Stage) -> None:
    assert notify("news", "nobody there", keep=False).reached == 0
    notify("news", "old")
    stage.box.advance("2h")
    run = stage.trigger()
    assert stage.box.waiting_on(run) == ["fresh"]
    assert notify("news", "new", keep=False).reached == 1
    assert run.refresh().result == "new"

    notify("news", "recent")
    stage.box.advance("30m")
    assert stage.trigger().result == "recent"
