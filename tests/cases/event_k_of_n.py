"""A wait for several events goes on when enough of them have come, each id once."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, notify, workflow
from tests.cases.stage import Stage


@workflow(name="event_k_of_n")
def sync(ctx: WorkflowContext[Any]) -> Any:
    votes = ctx.wait_for_event("votes", ["ann", "bob", "cem"], timeout="1d", count=2)
    late = ctx.wait_for_event("late", ["ann", "bob"], timeout="1d")
    either = ctx.wait_for_event("either", ["x", "y"], timeout="1d", count=1)
    return [
        [[event.event_id, event.event_data] for event in votes.events],
        [late.timed_out, late.event_data, len(late.events)],
        either.event_data,
    ]


@workflow(name="event_k_of_n.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    votes = await ctx.wait_for_event("votes", ["ann", "bob", "cem"], timeout="1d", count=2)
    late = await ctx.wait_for_event("late", ["ann", "bob"], timeout="1d")
    either = await ctx.wait_for_event("either", ["x", "y"], timeout="1d", count=1)
    return [
        [[event.event_id, event.event_data] for event in votes.events],
        [late.timed_out, late.event_data, len(late.events)],
        either.event_data,
    ]


def play(stage: Stage) -> None:
    run = stage.trigger()
    assert run.reason.startswith('"votes" is waiting for 2 of the events "ann", "bob", "cem" until')
    assert notify("cem", "yes").reached == 1
    assert notify("cem", "yes again").reached == 0
    assert stage.box.waiting_on(run) == ["votes"]
    assert notify("ann", "no").reached == 1
    assert stage.box.waiting_on(run) == ["late"]

    notify("bob", "at last")
    stage.box.advance("1d")
    assert stage.box.waiting_on(run) == ["either"]
    assert notify("y", 1).reached == 1
    assert run.refresh().result == [
        [["cem", "yes"], ["ann", "no"]],
        [True, "at last", 1],
        1,
    ]
    assert run.waiters.count() == 0
