"""A branch that ends without a step wins at once, and nothing of the others is ever begun."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import mark
from tests.cases.stage import Stage


@workflow(name="race_at_once")
def sync(ctx: WorkflowContext[Any]) -> Any:
    found = ctx.race(lambda: ctx.run("never", mark, "never"), lambda: "known", lambda: "too late")
    return [found.index, found.result, ctx.run("after", mark, "after")]


@workflow(name="race_at_once.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    async def known(what: str) -> str:
        return what

    found = await ctx.race(ctx.run("never", mark, "never"), known("known"), known("too late"))
    return [found.index, found.result, await ctx.run("after", mark, "after")]


def play(stage: Stage) -> None:
    run = stage.trigger()

    assert run.result == [1, "known", "after"]
    assert stage.box.steps(run) == ["race", "after"]
    stage.ran("never", times=0)
