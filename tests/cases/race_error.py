"""A branch that raises has ended: if it is the first, the race raises its error, and nothing of the loser goes on."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, StepError, WorkflowContext, workflow
from tests.cases.bodies import broken, mark
from tests.cases.stage import Stage


@workflow(name="race_error", retries=0)
def sync(ctx: WorkflowContext[Any]) -> Any:
    def waits() -> str:
        ctx.sleep("long", "2d")
        return ctx.run("never", mark, "never")

    def fails() -> None:
        ctx.sleep("short", "1d")
        ctx.run("bad", broken, "bad")

    try:
        ctx.race(waits, fails)
    except StepError as error:
        ctx.sleep("rest", "2d")
        return ctx.run("mend", mark, f"{error.step} mended")


@workflow(name="race_error.async", retries=0)
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    async def waits() -> str:
        await ctx.sleep("long", "2d")
        return await ctx.run("never", mark, "never")

    async def fails() -> None:
        await ctx.sleep("short", "1d")
        await ctx.run("bad", broken, "bad")

    try:
        await ctx.race(waits, fails)
    except StepError as error:
        await ctx.sleep("rest", "2d")
        return await ctx.run("mend", mark, f"{error.step} mended")


def play(stage: Stage) -> None:
    run = stage.trigger()
    stage.box.advance("5d")

    assert run.refresh().result == "bad mended"
    assert stage.box.steps(run) == ["short", "bad", "race", "rest", "mend", "long"]
    stage.ran("never", times=0)
