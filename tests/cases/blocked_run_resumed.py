"""A blocked run goes on, under the same id, when its code is mended."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import mark
from tests.cases.stage import Stage

#: The play changes code, time or luck in its own process.
IN_ONE_PROCESS = True


@workflow(name="blocked_run_resumed")
def sync(ctx: WorkflowContext[Any]) -> str:
    ctx.run("one", mark, "one")
    ctx.run("two", mark, "two")
    ctx.sleep("rest", "1h")
    return ctx.run("three", mark, "three")


@workflow(name="blocked_run_resumed.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> str:
    await ctx.run("one", mark, "one")
    await ctx.run("two", mark, "two")
    await ctx.sleep("rest", "1h")
    return await ctx.run("three", mark, "three")


def later(ctx: WorkflowContext[Any]) -> str:
    return ctx.run("something else", mark, "something else")


async def alater(ctx: AsyncWorkflowContext[Any]) -> str:
    return await ctx.run("something else", mark, "something else")


def play(stage: Stage) -> None:
    run = stage.trigger()
    stage.deploy(later, alater)
    stage.box.advance("1h")
    assert run.refresh().status == "blocked"
    assert run.reason == run.failure.message

    run.resume()
    assert run.status == "blocked"

    stage.redeploy()
    run.resume()
    assert run.result == "three"
    stage.ran("one")
    stage.ran("three")
    stage.ran("something else", 0)
