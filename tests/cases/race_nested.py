"""Races stand in branches of races and parallels; what the loser of the outer one has open goes, inner races included."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import mark
from tests.cases.stage import Stage


@workflow(name="race_nested")
def sync(ctx: WorkflowContext[Any]) -> Any:
    def inner() -> Any:
        first = ctx.race(lambda: ctx.sleep("a", "3h"), lambda: ctx.sleep("b", "1h"))
        ctx.parallel(lambda: ctx.sleep("c", "1h"), lambda: ctx.sleep("d", "2h"))
        return [first.index, ctx.run("inner", mark, "inner")]

    def outer() -> None:
        ctx.parallel(
            lambda: ctx.race(lambda: ctx.sleep("e", "8h"), lambda: ctx.sleep("f", "9h")),
            lambda: ctx.sleep("g", "1h"),
        )

    def both() -> Any:
        return list(ctx.race(inner, outer))

    raced, _ = ctx.parallel(both, lambda: ctx.sleep("h", "6h"))
    return [*raced, ctx.run("after", mark, "after")]


@workflow(name="race_nested.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    async def inner() -> Any:
        first = await ctx.race(ctx.sleep("a", "3h"), ctx.sleep("b", "1h"))
        await ctx.parallel(ctx.sleep("c", "1h"), ctx.sleep("d", "2h"))
        return [first.index, await ctx.run("inner", mark, "inner")]

    async def outer() -> None:
        await ctx.parallel(
            ctx.race(ctx.sleep("e", "8h"), ctx.sleep("f", "9h")), ctx.sleep("g", "1h")
        )

    async def both() -> Any:
        return list(await ctx.race(inner, outer))

    raced, _ = await ctx.parallel(both(), ctx.sleep("h", "6h"))
    return [*raced, await ctx.run("after", mark, "after")]


def play(stage: Stage) -> None:
    run = stage.trigger()
    assert sorted(stage.box.waiting_on(run)) == ["a", "b", "e", "f", "g", "h"]
    stage.box.advance("1h")
    assert sorted(stage.box.waiting_on(run)) == ["c", "d", "e", "f", "h"]
    stage.box.advance("3h")
    assert stage.box.waiting_on(run) == ["h"]
    stage.box.advance("2h")

    assert run.refresh().result == [0, [1, "inner"], "after"]
    abandoned = run.steps.filter(status="abandoned").values_list("name", flat=True)
    assert sorted(abandoned) == ["a", "e", "f"]
