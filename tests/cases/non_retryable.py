"""NonRetryableError ends a step at once."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import refused
from tests.cases.stage import Stage


@workflow(name="non_retryable", retries=5)
def sync(ctx: WorkflowContext[Any]) -> None:
    ctx.run("card", refused, "card")


@workflow(name="non_retryable.async", retries=5)
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> None:
    await ctx.run("card", refused, "card")


def play(stage: Stage) -> None:
    run = stage.trigger()

    assert run.status == "failed"
    assert run.failure.message == "card is refused."
    assert run.failure.attempts == 1
    stage.ran("card")
