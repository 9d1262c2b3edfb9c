"""Sleeping until a moment that is over does not wait."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import mark
from tests.cases.stage import Stage


@workflow(name="sleep_until_past")
def sync(ctx: WorkflowContext[Any]) -> str:
    ctx.sleep_until("long ago", 0)
    return ctx.run("after", mark, "after")


@workflow(name="sleep_until_past.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> str:
    await ctx.sleep_until("long ago", 0)
    return await ctx.run("after", mark, "after")


def play(stage: Stage) -> None:
    run = stage.trigger()

    assert run.result == "after"
    assert stage.box.steps(run) == ["long ago", "after"]
    stage.ran("after")
