"""Two steps of one name and kind that change places are not told apart: each gets the other's result, as documented."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import mark
from tests.cases.stage import Stage

#: The play changes code, time or luck in its own process.
IN_ONE_PROCESS = True


@workflow(name="same_names_exchanged")
def sync(ctx: WorkflowContext[Any]) -> Any:
    left = ctx.run("side", mark, "left")
    right = ctx.run("side", mark, "right")
    ctx.sleep("rest", "1h")
    return {"left": left, "right": right}


@workflow(name="same_names_exchanged.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    left = await ctx.run("side", mark, "left")
    right = await ctx.run("side", mark, "right")
    await ctx.sleep("rest", "1h")
    return {"left": left, "right": right}


def later(ctx: WorkflowContext[Any]) -> Any:
    right = ctx.run("side", mark, "right")
    left = ctx.run("side", mark, "left")
    ctx.sleep("rest", "1h")
    return {"left": left, "right": right}


async def alater(ctx: AsyncWorkflowContext[Any]) -> Any:
    right = await ctx.run("side", mark, "right")
    left = await ctx.run("side", mark, "left")
    await ctx.sleep("rest", "1h")
    return {"left": left, "right": right}


def play(stage: Stage) -> None:
    run = stage.trigger()
    stage.deploy(later, alater)
    stage.box.advance("1h")

    assert run.refresh().result == {"left": "right", "right": "left"}
    stage.ran("left")
    stage.ran("right")
