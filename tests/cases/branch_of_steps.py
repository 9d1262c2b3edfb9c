"""A long sleep in one branch never holds up the other."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import mark
from tests.cases.stage import Stage


@workflow(name="branch_of_steps")
def sync(ctx: WorkflowContext[Any]) -> list[Any]:
    def slow() -> str:
        ctx.run("slow begins", mark, "slow begins")
        ctx.sleep("long", "30d")
        return ctx.run("slow ends", mark, "slow ends")

    def quick() -> str:
        ctx.run("quick begins", mark, "quick begins")
        ctx.sleep("short", "1h")
        ctx.run("quick goes on", mark, "quick goes on")
        return ctx.run("quick ends", mark, "quick ends")

    return list(ctx.parallel(slow, quick))


@workflow(name="branch_of_steps.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> list[Any]:
    async def slow() -> str:
        await ctx.run("slow begins", mark, "slow begins")
        await ctx.sleep("long", "30d")
        return await ctx.run("slow ends", mark, "slow ends")

    async def quick() -> str:
        await ctx.run("quick begins", mark, "quick begins")
        await ctx.sleep("short", "1h")
        await ctx.run("quick goes on", mark, "quick goes on")
        return await ctx.run("quick ends", mark, "quick ends")

    return list(await ctx.parallel(slow, quick))


def play(stage: Stage) -> None:
    run = stage.trigger()
    assert sorted(stage.box.waiting_on(run)) == ["long", "short"]

    stage.box.advance("1h")
    assert stage.box.waiting_on(run) == ["long"]
    stage.ran("quick ends")

    stage.box.advance("30d")
    assert run.refresh().result == ["slow ends", "quick ends"]
    stage.ran("slow ends")
    stage.ran("quick goes on")
