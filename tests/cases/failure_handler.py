"""A failed run's handler may hold steps, sleeps and retries of its own."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, Failure, WorkflowContext, workflow
from tests.cases.bodies import broken, flaky, mark
from tests.cases.stage import Stage


@workflow(name="failure_handler", retries=1, retry_delay="1s")
def sync(ctx: WorkflowContext[Any]) -> None:
    ctx.run("paid", mark, "paid")
    ctx.using(retries=0).run("ship", broken, "ship")


@sync.on_failure
def refund(ctx: WorkflowContext[Any], failure: Failure) -> None:
    ctx.run("refund", flaky, "refund", 1)
    ctx.sleep("wait", "1d")
    ctx.run("tell", mark, f"told of {failure.step}: {failure.message}")


@workflow(name="failure_handler.async", retries=1, retry_delay="1s")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> None:
    await ctx.run("paid", mark, "paid")
    await ctx.using(retries=0).run("ship", broken, "ship")


@asynchronous.on_failure
async def arefund(ctx: AsyncWorkflowContext[Any], failure: Failure) -> None:
    await ctx.run("refund", flaky, "refund", 1)
    await ctx.sleep("wait", "1d")
    await ctx.run("tell", mark, f"told of {failure.step}: {failure.message}")


def play(stage: Stage) -> None:
    run = stage.trigger()
    assert (run.status, run.handler_status) == ("failed", "running")
    assert not run.is_finished

    stage.box.advance("1s")
    assert stage.box.waiting_on(run) == ["wait"]

    stage.box.advance("1d")
    assert (run.refresh().status, run.handler_status) == ("failed", "completed")
    assert run.is_finished
    assert run.failure.message == "ship is broken."
    assert stage.box.steps(run) == ["paid", "ship", "refund", "wait", "tell"]
    stage.ran("paid")
    stage.ran("refund", 2)
    stage.ran("told of ship: ship is broken.")
