"""A child that is cancelled by hand is an error for its parent."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, ChildRunError, WorkflowContext, workflow
from tests.cases.stage import Stage


@workflow(name="invoke_cancelled_child.child")
def child(ctx: WorkflowContext[Any]) -> None:
    ctx.sleep("rest", "1d")


@workflow(name="invoke_cancelled_child")
def sync(ctx: WorkflowContext[Any]) -> Any:
    try:
        ctx.invoke("child", child)
    except ChildRunError as error:
        return error.failure.message


@workflow(name="invoke_cancelled_child.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    try:
        await ctx.invoke("child", child)
    except ChildRunError as error:
        return error.failure.message


def play(stage: Stage) -> None:
    run = stage.trigger()
    run.children.get().cancel()

    assert run.refresh().result == "The run was cancelled."
    assert not run.children.get().deliveries.exists()
