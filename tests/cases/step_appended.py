"""New steps behind everything that is recorded are no change for a run under way."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import mark
from tests.cases.stage import Stage

#: The play changes code, time or luck in its own process.
IN_ONE_PROCESS = True


@workflow(name="step_appended")
def sync(ctx: WorkflowContext[Any]) -> str:
    ctx.run("one", mark, "one")
    ctx.run("two", mark, "two")
    ctx.sleep("rest", "1h")
    return ctx.run("three", mark, "three")


@workflow(name="step_appended.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> str:
    await ctx.run("one", mark, "one")
    await ctx.run("two", mark, "two")
    await ctx.sleep("rest", "1h")
    return await ctx.run("three", mark, "three")


def later(ctx: WorkflowContext[Any]) -> str:
    ctx.run("one", mark, "one")
    ctx.run("two", mark, "two")
    ctx.sleep("rest", "1h")
    ctx.run("new", mark, "new")
    return ctx.run("three", mark, "three")


async def alater(ctx: AsyncWorkflowContext[Any]) -> str:
    await ctx.run("one", mark, "one")
    await ctx.run("two", mark, "two")
    await ctx.sleep("rest", "1h")
    await ctx.run("new", mark, "new")
    return await ctx.run("three", mark, "three")


def play(stage: Stage) -> None:
    run = stage.trigger()
    stage.deploy(later, alater)
    stage.box.advance("1h")

    assert run.refresh().result == "three"
    assert stage.box.steps(run) == ["one", "two", "rest", "new", "three"]
    stage.ran("one")
    stage.ran("new")
