"""A workflow may catch the error of a step and go on, the same way at every replay."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, StepError, WorkflowContext, workflow
from tests.cases.bodies import broken, mark
from tests.cases.stage import Stage


@workflow(name="step_error_caught", retries=1, retry_delay="5s")
def sync(ctx: WorkflowContext[Any]) -> str:
    try:
        ctx.run("plan a", broken, "plan a")
    except StepError as error:
        ctx.sleep("think", "1h")
        return ctx.run("plan b", mark, "plan b", f"{error.step}, {error.attempts}")
    return "never"


@workflow(name="step_error_caught.async", retries=1, retry_delay="5s")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> str:
    try:
        await ctx.run("plan a", broken, "plan a")
    except StepError as error:
        await ctx.sleep("think", "1h")
        return await ctx.run("plan b", mark, "plan b", f"{error.step}, {error.attempts}")
    return "never"


def play(stage: Stage) -> None:
    run = stage.trigger()
    stage.box.advance("5s")
    assert stage.box.waiting_on(run) == ["think"]

    stage.box.advance("1h")
    assert run.refresh().result == "plan a, 2"
    assert stage.box.steps(run) == ["plan a", "think", "plan b"]
    stage.ran("plan a", 2)
    stage.ran("plan b")
