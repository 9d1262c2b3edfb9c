"""Behind ctx.patched() new runs take the new way, and those that had gone beyond it the old one."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import mark
from tests.cases.stage import Stage

#: The play changes code, time or luck in its own process.
IN_ONE_PROCESS = True


@workflow(name="patched")
def sync(ctx: WorkflowContext[Any]) -> str:
    ctx.run("one", mark, "one")
    ctx.sleep("rest", "1h")
    return ctx.run("two", mark, "two")


@workflow(name="patched.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> str:
    await ctx.run("one", mark, "one")
    await ctx.sleep("rest", "1h")
    return await ctx.run("two", mark, "two")


def later(ctx: WorkflowContext[Any]) -> str:
    if ctx.patched("greeting"):
        ctx.run("greet", mark, "greet")
    ctx.run("one", mark, "one")
    ctx.sleep("rest", "1h")
    if ctx.patched("farewell"):
        ctx.run("farewell", mark, "farewell")
    return ctx.run("two", mark, "two")


async def alater(ctx: AsyncWorkflowContext[Any]) -> str:
    if ctx.patched("greeting"):
        await ctx.run("greet", mark, "greet")
    await ctx.run("one", mark, "one")
    await ctx.sleep("rest", "1h")
    if ctx.patched("farewell"):
        await ctx.run("farewell", mark, "farewell")
    return await ctx.run("two", mark, "two")


def play(stage: Stage) -> None:
    old = stage.trigger()
    stage.deploy(later, alater)
    new = stage.trigger()
    stage.box.advance("1h")

    assert old.refresh().status == "completed"
    assert new.refresh().status == "completed"
    assert stage.box.steps(old) == ["one", "rest", "farewell", "two"]
    assert stage.box.steps(new) == ["greet", "one", "rest", "farewell", "two"]
    stage.ran("greet")
    stage.ran("one", 2)
    stage.ran("farewell", 2)
