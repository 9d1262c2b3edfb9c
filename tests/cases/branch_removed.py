"""A branch that is taken out after it has begun blocks the run, and says which step is missing."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import mark
from tests.cases.stage import Stage

#: The play changes code, time or luck in its own process.
IN_ONE_PROCESS = True


@workflow(name="branch_removed")
def sync(ctx: WorkflowContext[Any]) -> Any:
    ctx.parallel(lambda: ctx.sleep("rest", "1h"), lambda: ctx.run("two", mark, "two"))
    return ctx.run("after", mark, "after")


@workflow(name="branch_removed.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    await ctx.parallel(ctx.sleep("rest", "1h"), ctx.run("two", mark, "two"))
    return await ctx.run("after", mark, "after")


def later(ctx: WorkflowContext[Any]) -> Any:
    ctx.parallel(lambda: ctx.sleep("rest", "1h"))
    return ctx.run("after", mark, "after")


async def alater(ctx: AsyncWorkflowContext[Any]) -> Any:
    await ctx.parallel(ctx.sleep("rest", "1h"))
    return await ctx.run("after", mark, "after")


def play(stage: Stage) -> None:
    run = stage.trigger()
    stage.deploy(later, alater)
    stage.box.advance("1h")

    assert run.refresh().status == "blocked"
    assert run.failure.error_class.endswith(".NonDeterminismError")
    assert 'run "two" was recorded' in run.failure.message
    stage.ran("after", 0)
