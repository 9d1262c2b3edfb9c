"""Branches wait side by side, for events of their own and for the same one."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, notify, workflow
from tests.cases.bodies import mark
from tests.cases.stage import Stage


@workflow(name="event_in_branches")
def sync(ctx: WorkflowContext[Any]) -> Any:
    def branch(event_id: str) -> Any:
        own = ctx.wait_for_event("own", event_id, timeout="1d").event_data
        both = ctx.wait_for_event("both", "both", timeout="1d").event_data
        return [own, both, ctx.run("after", mark, event_id)]

    return list(ctx.parallel(lambda: branch("left"), lambda: branch("right")))


@workflow(name="event_in_branches.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    async def branch(event_id: str) -> Any:
        own = (await ctx.wait_for_event("own", event_id, timeout="1d")).event_data
        both = (await ctx.wait_for_event("both", "both", timeout="1d")).event_data
        return [own, both, await ctx.run("after", mark, event_id)]

    return list(await ctx.parallel(branch("left"), branch("right")))


def play(stage: Stage) -> None:
    run = stage.trigger()
    notify("right", 2)
    assert stage.box.waiting_on(run) == ["own", "both"]
    notify("left", 1)
    assert stage.box.waiting_on(run) == ["both", "both"]

    assert notify("both", 3).reached == 1
    assert run.refresh().result == [[1, 3, "left"], [2, 3, "right"]]
    stage.ran("left")
    stage.ran("right")
