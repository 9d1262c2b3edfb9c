"""An event that was sent before anybody waited for it is kept for the first wait."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, notify, workflow
from tests.cases.bodies import mark
from tests.cases.stage import Stage


@workflow(name="event_before_wait")
def sync(ctx: WorkflowContext[Any]) -> list[Any]:
    ctx.run("before", mark, "before")
    pickup = ctx.wait_for_event("pickup", "pickup:42", timeout="2d")
    again = ctx.wait_for_event("again", "pickup:42", timeout="2d")
    return [pickup.event_data, pickup.timed_out, again.event_data]


@workflow(name="event_before_wait.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> list[Any]:
    await ctx.run("before", mark, "before")
    pickup = await ctx.wait_for_event("pickup", "pickup:42", timeout="2d")
    again = await ctx.wait_for_event("again", "pickup:42", timeout="2d")
    return [pickup.event_data, pickup.timed_out, again.event_data]


def play(stage: Stage) -> None:
    early = notify("pickup:42", {"by": "Ann"})
    assert early.reached == 0

    run = stage.trigger()
    assert early.reached == 0
    assert stage.box.waiting_on(run) == ["again"]

    late = notify("pickup:42", {"by": "Bob"})
    assert late.reached == 1
    early.refresh_from_db()
    assert early.reached == 1
    assert run.refresh().result == [{"by": "Ann"}, False, {"by": "Bob"}]
    stage.ran("before")
