"""An event wakes the run that waits for it; its data are what the step returns."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, notify, workflow
from tests.cases.bodies import mark
from tests.cases.stage import NOW, Stage


@workflow(name="event_after_wait")
def sync(ctx: WorkflowContext[Any]) -> Any:
    ctx.run("before", mark, "before")
    pickup = ctx.wait_for_event("pickup", "pickup:42", timeout="2d")
    ctx.run("after", mark, "after")
    return [pickup.event_data, pickup.timed_out, pickup.timeout, len(pickup.events)]


@workflow(name="event_after_wait.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    await ctx.run("before", mark, "before")
    pickup = await ctx.wait_for_event("pickup", "pickup:42", timeout="2d")
    await ctx.run("after", mark, "after")
    return [pickup.event_data, pickup.timed_out, pickup.timeout, len(pickup.events)]


def play(stage: Stage) -> None:
    run = stage.trigger()
    assert stage.box.waiting_on(run) == ["pickup"]
    assert run.reason == '"pickup" is waiting for event "pickup:42" until 2030-06-03 12:00:00 UTC'

    stage.box.advance("1d")
    notify("pickup:41", {"by": "Bob"})
    assert stage.box.waiting_on(run) == ["pickup"]

    event = notify("pickup:42", {"by": "Ann"})
    assert (event.event_id, event.event_data, event.reached) == ("pickup:42", {"by": "Ann"}, 1)
    assert run.refresh().result == [{"by": "Ann"}, False, False, 1]
    assert run.finished_at == NOW + timedelta(days=1)
    assert run.waiters.count() == 0
    stage.ran("before")
    stage.ran("after")
