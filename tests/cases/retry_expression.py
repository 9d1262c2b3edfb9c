"""A retry delay is computed from how often was retried: in milliseconds, as the seeds' system writes it."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import flaky
from tests.cases.stage import Stage


@workflow(name="retry_expression", retries=3)
def sync(ctx: WorkflowContext[Any]) -> int:
    return ctx.run("flaky", flaky, "flaky", 2)


@workflow(name="retry_expression.async", retries=3)
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> int:
    return await ctx.run("flaky", flaky, "flaky", 2)


def play(stage: Stage) -> None:
    run = stage.trigger(retry_delay="10000 * (1 + retried)")
    stage.box.advance("9s")
    stage.ran("flaky", 1)
    stage.box.advance("1s")
    assert "Try 2 failed." in run.refresh().reason

    stage.box.advance("19s")
    stage.ran("flaky", 2)
    stage.box.advance("1s")
    assert run.refresh().result == 3
