"""What a paused run waits for is recorded when it happens, an event or a timeout."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, notify, workflow
from tests.cases.bodies import mark
from tests.cases.stage import Stage


@workflow(name="event_for_a_paused_run")
def sync(ctx: WorkflowContext[Any]) -> Any:
    first = ctx.wait_for_event("first", "go", timeout="1d")
    ctx.run("between", mark, "between")
    second = ctx.wait_for_event("second", "go", timeout="1h")
    return [first.event_data, second.timed_out]


@workflow(name="event_for_a_paused_run.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    first = await ctx.wait_for_event("first", "go", timeout="1d")
    await ctx.run("between", mark, "between")
    second = await ctx.wait_for_event("second", "go", timeout="1h")
    return [first.event_data, second.timed_out]


def play(stage: Stage) -> None:
    run = stage.trigger()
    run.pause()
    assert notify("go", 1).reached == 1
    assert run.steps.get(key="first").result["events"] == [{"event_id": "go", "event_data": 1}]
    stage.ran("between", 0)
    run.resume()
    assert stage.box.waiting_on(run) == ["second"]

    run.pause()
    stage.box.advance("1h")
    assert run.steps.get(key="second").finished_at == stage.box.now
    stage.box.advance("1h")
    assert notify("go", 2).reached == 0
    run.resume()
    assert run.refresh().result == [1, True]
