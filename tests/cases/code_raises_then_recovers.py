"""Code between steps that raises is tried again, from its recorded steps, and told how often."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import mark
from tests.cases.stage import Stage


@workflow(name="code_raises_then_recovers", retries=2, retry_delay="1m")
def sync(ctx: WorkflowContext[Any]) -> int:
    ctx.run("before", mark, "before")
    if ctx.retried < 2:
        raise ConnectionError(f"Try {ctx.retried}.")
    ctx.run("after", mark, "after")
    return ctx.retried


@workflow(name="code_raises_then_recovers.async", retries=2, retry_delay="1m")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> int:
    await ctx.run("before", mark, "before")
    if ctx.retried < 2:
        raise ConnectionError(f"Try {ctx.retried}.")
    await ctx.run("after", mark, "after")
    return ctx.retried


def play(stage: Stage) -> None:
    run = stage.trigger()
    assert "code between steps is tried again" in run.reason

    stage.box.advance("2m")
    assert run.refresh().status == "completed"
    assert run.attempts.filter(outcome="failed", step_key="").count() == 2
    stage.ran("before")
    stage.ran("after")
