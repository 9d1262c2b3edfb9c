"""A sleep lets the run rest, and costs nothing."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import mark
from tests.cases.stage import Stage


@workflow(name="sleep")
def sync(ctx: WorkflowContext[Any]) -> str:
    ctx.run("before", mark, "before")
    ctx.sleep("rest", "2d")
    ctx.sleep("no time at all", 0)
    return ctx.run("after", mark, "after")


@workflow(name="sleep.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> str:
    await ctx.run("before", mark, "before")
    await ctx.sleep("rest", "2d")
    await ctx.sleep("no time at all", 0)
    return await ctx.run("after", mark, "after")


def play(stage: Stage) -> None:
    run = stage.trigger()
    assert stage.box.waiting_on(run) == ["rest"]
    assert run.reason == '"rest" is sleeping until 2030-06-03 12:00:00 UTC'

    stage.box.advance("47h")
    assert stage.box.waiting_on(run) == ["rest"]
    stage.ran("after", 0)

    stage.box.advance("1h")
    assert run.refresh().result == "after"
    assert stage.box.steps(run) == ["before", "rest", "no time at all", "after"]
    stage.ran("before")
    stage.ran("after")
