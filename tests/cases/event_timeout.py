"""The time of a wait is over: that is a result, and an event that comes later is kept."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, notify, workflow
from tests.cases.bodies import mark
from tests.cases.stage import Stage


@workflow(name="event_timeout")
def sync(ctx: WorkflowContext[Any]) -> Any:
    pickup = ctx.wait_for_event("pickup", "pickup:42", timeout="2d")
    ctx.run("after", mark, "after")
    later = ctx.wait_for_event("later", "pickup:42", timeout="1d")
    return [
        pickup.timed_out,
        pickup.timeout,
        pickup.event_data,
        len(pickup.events),
        later.event_data,
    ]


@workflow(name="event_timeout.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    pickup = await ctx.wait_for_event("pickup", "pickup:42", timeout="2d")
    await ctx.run("after", mark, "after")
    later = await ctx.wait_for_event("later", "pickup:42", timeout="1d")
    return [
        pickup.timed_out,
        pickup.timeout,
        pickup.event_data,
        len(pickup.events),
        later.event_data,
    ]


def play(stage: Stage) -> None:
    run = stage.trigger()
    stage.box.advance("47h")
    assert stage.box.waiting_on(run) == ["pickup"]

    stage.box.advance("1h")
    assert stage.box.waiting_on(run) == ["later"]
    assert run.waiters.count() == 1

    assert notify("pickup:42", 7).reached == 1
    assert run.refresh().result == [True, True, None, 0, 7]
    stage.ran("after")
