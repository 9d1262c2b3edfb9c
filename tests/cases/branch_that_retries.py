"""A branch that waits for its retry never holds up the other."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import flaky, mark
from tests.cases.stage import Stage


@workflow(name="branch_that_retries", retries=2, retry_delay="1d")
def sync(ctx: WorkflowContext[Any]) -> list[Any]:
    def other() -> str:
        ctx.run("one", mark, "one")
        return ctx.run("two", mark, "two")

    return list(ctx.parallel(lambda: ctx.run("flaky", flaky, "flaky", 2), other))


@workflow(name="branch_that_retries.async", retries=2, retry_delay="1d")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> list[Any]:
    async def other() -> str:
        await ctx.run("one", mark, "one")
        return await ctx.run("two", mark, "two")

    return list(await ctx.parallel(ctx.run("flaky", flaky, "flaky", 2), other))


def play(stage: Stage) -> None:
    run = stage.trigger()
    assert stage.box.waiting_on(run) == ["flaky"]
    stage.ran("two")

    stage.box.advance("1d")
    assert run.refresh().status == "running"
    stage.box.advance("1d")
    assert run.refresh().result == [3, "two"]
    stage.ran("flaky", 3)
