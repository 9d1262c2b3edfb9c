"""Code that catches what leaves the function blocks the run; nothing after it is recorded."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import mark
from tests.cases.stage import Stage


@workflow(name="swallowed_interrupt")
def sync(ctx: WorkflowContext[Any]) -> None:
    try:
        ctx.sleep("rest", "1h")
    except BaseException:
        mark("caught")
    ctx.run("wrong", mark, "wrong")


@workflow(name="swallowed_interrupt.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> None:
    try:
        await ctx.sleep("rest", "1h")
    except BaseException:
        mark("caught")
    await ctx.run("wrong", mark, "wrong")


def play(stage: Stage) -> None:
    run = stage.trigger()

    assert run.status == "blocked"
    assert run.failure.error_class.endswith(".SwallowedInterruptError")
    assert 'at step "rest" was caught' in run.failure.message
    stage.ran("wrong", 0)
