"""Async bodies, in workflows of either colour."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import amark
from tests.cases.stage import Stage


@workflow(name="async_bodies")
def sync(ctx: WorkflowContext[Any]) -> list[str]:
    first = ctx.run("first", amark, "first")
    return [
        first,
        *ctx.parallel(lambda: ctx.run("a", amark, "a"), lambda: ctx.run("b", amark, "b")),
    ]


@workflow(name="async_bodies.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> list[str]:
    first = await ctx.run("first", amark, "first")
    return [first, *await ctx.parallel(ctx.run("a", amark, "a"), ctx.run("b", amark, "b"))]


def play(stage: Stage) -> None:
    run = stage.trigger()

    assert run.result == ["first", "a", "b"]
    stage.ran("first")
    stage.ran("b")
