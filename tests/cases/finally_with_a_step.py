"""A step in a finally block runs once, when the block is really left."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import broken, mark
from tests.cases.stage import Stage


@workflow(name="finally_with_a_step", retries=0)
def sync(ctx: WorkflowContext[Any]) -> None:
    ctx.run("take", mark, "take")
    try:
        ctx.sleep("rest", "1h")
        ctx.run("use", broken, "use")
    finally:
        ctx.run("release", mark, "release")


@workflow(name="finally_with_a_step.async", retries=0)
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> None:
    await ctx.run("take", mark, "take")
    try:
        await ctx.sleep("rest", "1h")
        await ctx.run("use", broken, "use")
    finally:
        await ctx.run("release", mark, "release")


def play(stage: Stage) -> None:
    run = stage.trigger()
    assert stage.box.steps(run) == ["take", "rest"]
    stage.ran("release", 0)

    stage.box.advance("1h")
    assert run.refresh().status == "failed"
    assert run.failed_step == "use"
    assert stage.box.steps(run) == ["take", "rest", "use", "release"]
    stage.ran("release")
