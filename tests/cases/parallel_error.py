"""When branches fail, all are awaited, and the first error is raised with the others on it."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, StepError, WorkflowContext, workflow
from tests.cases.bodies import broken, mark
from tests.cases.stage import Stage


@workflow(name="parallel_error", retries=0)
def sync(ctx: WorkflowContext[Any]) -> Any:
    try:
        ctx.parallel(
            lambda: ctx.run("one", broken, "one"),
            lambda: ctx.run("fine", mark, "fine"),
            lambda: ctx.run("two", broken, "two"),
        )
    except StepError as error:
        return [error.step, *(other.step for other in error.others)]


@workflow(name="parallel_error.async", retries=0)
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    try:
        await ctx.parallel(
            ctx.run("one", broken, "one"),
            ctx.run("fine", mark, "fine"),
            ctx.run("two", broken, "two"),
        )
    except StepError as error:
        return [error.step, *(other.step for other in error.others)]


def play(stage: Stage) -> None:
    run = stage.trigger()

    assert run.result == ["one", "two"]
    stage.ran("one")
    stage.ran("two")
    stage.ran("fine")
