"""The same names in any number of branches, beside those of the run itself."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import double
from tests.cases.stage import Stage


@workflow(name="same_name_in_two_branches")
def sync(ctx: WorkflowContext[Any]) -> list[Any]:
    def branch(number: int) -> int:
        first = ctx.run("double", double, number)
        ctx.sleep("rest", "1h")
        return ctx.run("double", double, first)

    own = ctx.run("double", double, 100)
    return [own, *ctx.parallel(lambda: branch(1), lambda: branch(10), lambda: branch(30))]


@workflow(name="same_name_in_two_branches.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> list[Any]:
    async def branch(number: int) -> int:
        first = await ctx.run("double", double, number)
        await ctx.sleep("rest", "1h")
        return await ctx.run("double", double, first)

    own = await ctx.run("double", double, 100)
    return [own, *await ctx.parallel(branch(1), branch(10), branch(30))]


def play(stage: Stage) -> None:
    run = stage.trigger()
    assert stage.box.waiting_on(run) == ["rest", "rest", "rest"]
    stage.box.advance("1h")

    assert run.refresh().result == [200, 4, 40, 120]
    keys = set(run.steps.filter(name="double").values_list("key", flat=True))
    assert keys == {"double"} | {
        f"p1.{branch}/double{times}" for branch in range(3) for times in ("", "#2")
    }
    stage.ran("double 1")
    stage.ran("double 60")
