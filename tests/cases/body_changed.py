"""New bodies, lines and shapes are no change: what is recorded keeps its value, what is open gets the new code."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import broken, mark
from tests.cases.stage import Stage

#: The play changes code, time or luck in its own process.
IN_ONE_PROCESS = True


@workflow(name="body_changed", retries=3, retry_delay="1h")
def sync(ctx: WorkflowContext[Any]) -> Any:
    one = ctx.run("one", mark, "one")
    return [one, ctx.run("two", broken, "two")]


@workflow(name="body_changed.async", retries=3, retry_delay="1h")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    one = await ctx.run("one", mark, "one")
    return [one, await ctx.run("two", broken, "two")]


def later(ctx: WorkflowContext[Any]) -> Any:
    ctx.log("added too late")
    one = ctx.run("one", mark, "another one", {"shape": 2})
    ctx.set_progress(50)
    return [one, ctx.run("two", mark, "mended")]


async def alater(ctx: AsyncWorkflowContext[Any]) -> Any:
    ctx.log("added too late")
    one = await ctx.run("one", mark, "another one", {"shape": 2})
    ctx.set_progress(50)
    return [one, await ctx.run("two", mark, "mended")]


def play(stage: Stage) -> None:
    run = stage.trigger()
    stage.deploy(later, alater)
    stage.box.advance("1h")

    assert run.refresh().result == ["one", "mended"]
    assert run.logs.count() == 0
    stage.ran("one")
    stage.ran("another one", 0)
    stage.ran("mended")
