"""A handler that fails is kept apart from the failure of the run."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, Failure, WorkflowContext, workflow
from tests.cases.bodies import broken, mark
from tests.cases.stage import Stage


@workflow(name="failure_handler_fails", retries=0)
def sync(ctx: WorkflowContext[Any]) -> None:
    ctx.run("ship", broken, "ship")


@sync.on_failure
def refund(ctx: WorkflowContext[Any], failure: Failure) -> None:
    ctx.run("tell", mark, "tell")
    ctx.run("refund", broken, "refund")


@workflow(name="failure_handler_fails.async", retries=0)
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> None:
    await ctx.run("ship", broken, "ship")


@asynchronous.on_failure
async def arefund(ctx: AsyncWorkflowContext[Any], failure: Failure) -> None:
    await ctx.run("tell", mark, "tell")
    await ctx.run("refund", broken, "refund")


def play(stage: Stage) -> None:
    run = stage.trigger()

    assert (run.status, run.handler_status) == ("failed", "failed")
    assert run.failure.message == "ship is broken."
    assert run.handler_failure.message == "refund is broken."
    assert run.is_finished
    stage.ran("ship")
    stage.ran("tell")
    stage.ran("refund")
