"""A run with a delay begins at its time, and can be cancelled before."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import mark
from tests.cases.stage import Stage


@workflow(name="delay")
def sync(ctx: WorkflowContext[Any]) -> str:
    return ctx.run("step", mark, "step", str(ctx.now()))


@workflow(name="delay.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> str:
    return await ctx.run("step", mark, "step", str(await ctx.now()))


def play(stage: Stage) -> None:
    run = stage.trigger(delay="10m")
    other = stage.trigger(delay="10m")
    other.cancel()
    stage.box.advance("9m")
    assert run.refresh().status == "pending"
    assert run.started_at is None

    stage.box.advance("1m")
    assert run.refresh().result == "2030-06-01 12:10:00+00:00"
    assert other.refresh().status == "cancelled"
    stage.ran("step")
