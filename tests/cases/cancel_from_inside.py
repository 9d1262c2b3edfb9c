"""A workflow may end its own run; no handler runs."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, Failure, WorkflowContext, workflow
from tests.cases.bodies import mark
from tests.cases.stage import Stage


@workflow(name="cancel_from_inside")
def sync(ctx: WorkflowContext[Any]) -> None:
    ctx.run("before", mark, "before")
    try:
        ctx.cancel()
    except Exception:
        ctx.run("caught", mark, "caught")
    ctx.run("after", mark, "after")


@sync.on_failure
def handler(ctx: WorkflowContext[Any], failure: Failure) -> None:
    ctx.run("handler", mark, "handler")


@workflow(name="cancel_from_inside.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> None:
    await ctx.run("before", mark, "before")
    try:
        await ctx.cancel()
    except Exception:
        await ctx.run("caught", mark, "caught")
    await ctx.run("after", mark, "after")


@asynchronous.on_failure
async def ahandler(ctx: AsyncWorkflowContext[Any], failure: Failure) -> None:
    await ctx.run("handler", mark, "handler")


def play(stage: Stage) -> None:
    run = stage.trigger()

    assert run.status == "cancelled"
    assert run.handler_status == ""
    assert not run.deliveries.exists()
    stage.ran_in_order("before")
    stage.ran("before")
