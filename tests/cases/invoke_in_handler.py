"""The failure handler may invoke too."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, Failure, WorkflowContext, workflow
from tests.cases.bodies import mark, refused
from tests.cases.stage import Stage


@workflow(name="invoke_in_handler.child")
def child(ctx: WorkflowContext[Any]) -> Any:
    ctx.sleep("rest", "1h")
    return ctx.run("refund", mark, "refund")


@workflow(name="invoke_in_handler")
def sync(ctx: WorkflowContext[Any]) -> None:
    ctx.run("ship", refused, "ship")


@sync.on_failure
def clean(ctx: WorkflowContext[Any], failure: Failure) -> None:
    ctx.run("tell", mark, "told of " + ctx.invoke("refund", child))


@workflow(name="invoke_in_handler.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> None:
    await ctx.run("ship", refused, "ship")


@asynchronous.on_failure
async def aclean(ctx: AsyncWorkflowContext[Any], failure: Failure) -> None:
    await ctx.run("tell", mark, "told of " + await ctx.invoke("refund", child))


def play(stage: Stage) -> None:
    run = stage.trigger()
    assert stage.box.waiting_on(run) == ["refund"]

    stage.box.advance("1h")
    assert (run.refresh().status, run.handler_status) == ("failed", "completed")
    assert run.children.get().parent_step == "failure.1/refund"
    stage.ran_in_order("ship", "refund", "told of refund")
