"""Branches side by side, then a step with both results."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import double
from tests.cases.stage import Stage


@workflow(name="parallel")
def sync(ctx: WorkflowContext[Any]) -> int:
    left, right = ctx.parallel(
        lambda: ctx.run("left", double, 1), lambda: ctx.run("right", double, 10)
    )
    return ctx.run("join", double, left + right)


@workflow(name="parallel.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> int:
    left, right = await ctx.parallel(ctx.run("left", double, 1), ctx.run("right", double, 10))
    return await ctx.run("join", double, left + right)


def play(stage: Stage) -> None:
    run = stage.trigger()

    assert run.result == 44
    assert sorted(stage.box.steps(run)) == ["join", "left", "right"]
    stage.ran("double 1")
    stage.ran("double 10")
    stage.ran("double 22")
