"""ctx.cancel() in one branch ends the whole run."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import mark
from tests.cases.stage import Stage


@workflow(name="cancel_in_parallel")
def sync(ctx: WorkflowContext[Any]) -> None:
    def leave() -> None:
        ctx.run("look", mark, "look")
        ctx.cancel()

    ctx.parallel(leave, lambda: ctx.sleep("rest", "2d"))


@workflow(name="cancel_in_parallel.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> None:
    async def leave() -> None:
        await ctx.run("look", mark, "look")
        await ctx.cancel()

    await ctx.parallel(leave, ctx.sleep("rest", "2d"))


def play(stage: Stage) -> None:
    run = stage.trigger()

    assert run.status == "cancelled"
    assert not run.deliveries.exists()
    stage.ran("look")
