"""A run that cancels itself takes its children with it; a branch may wait for one meanwhile."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.stage import Stage


@workflow(name="invoke_cancel_from_inside.child")
def child(ctx: WorkflowContext[Any]) -> None:
    ctx.sleep("rest", "1d")


@workflow(name="invoke_cancel_from_inside")
def sync(ctx: WorkflowContext[Any]) -> None:
    def leave() -> None:
        ctx.sleep("a while", "1h")
        ctx.cancel()

    ctx.parallel(lambda: ctx.invoke("child", child), leave)


@workflow(name="invoke_cancel_from_inside.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> None:
    async def leave() -> None:
        await ctx.sleep("a while", "1h")
        await ctx.cancel()

    await ctx.parallel(ctx.invoke("child", child), leave())


def play(stage: Stage) -> None:
    run = stage.trigger()
    stage.box.advance("1h")

    assert run.refresh().status == "cancelled"
    assert run.children.get().status == "cancelled"
    assert not run.children.get().deliveries.exists()
