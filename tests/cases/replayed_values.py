"""now, uuid and random are the same at every replay, and differ from place to place."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import mark
from tests.cases.stage import Stage


@workflow(name="replayed_values")
def sync(ctx: WorkflowContext[Any]) -> list[Any]:
    values: list[Any] = [str(ctx.now()), str(ctx.uuid()), str(ctx.uuid()), ctx.random()]
    ctx.run("first", mark, "first", values)
    ctx.sleep("rest", "1h")
    values += [str(ctx.now()), ctx.random()]
    ctx.run("second", mark, "second", values)
    return values


@workflow(name="replayed_values.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> list[Any]:
    values: list[Any] = [str(await ctx.now()), str(await ctx.uuid()), str(await ctx.uuid())]
    values.append(await ctx.random())
    await ctx.run("first", mark, "first", values)
    await ctx.sleep("rest", "1h")
    values += [str(await ctx.now()), await ctx.random()]
    await ctx.run("second", mark, "second", values)
    return values


def play(stage: Stage) -> None:
    run = stage.trigger()
    stage.box.advance("1h")

    values = run.refresh().result
    assert run.steps.get(name="first").result == values[:4]
    assert run.steps.get(name="second").result == values
    assert (values[0], values[4]) == ("2030-06-01 12:00:00+00:00", "2030-06-01 13:00:00+00:00")
    assert len(set(values)) == len(values)
    stage.ran("first")
