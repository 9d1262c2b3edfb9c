"""A step may say itself when it is to be tried again; it counts as an attempt."""

from __future__ import annotations

from typing import Any

from django_workflow import (
    AsyncWorkflowContext,
    RetryAfterError,
    WorkflowContext,
    current_step,
    workflow,
)
from tests.cases.bodies import mark
from tests.cases.stage import Stage


def busy() -> int:
    mark("busy")
    attempt = current_step().attempt
    if attempt == 1:
        raise RetryAfterError("Later.", "6h")
    return attempt


@workflow(name="retry_after", retries=1, retry_delay="1s")
def sync(ctx: WorkflowContext[Any]) -> int:
    return ctx.run("busy", busy)


@workflow(name="retry_after.async", retries=1, retry_delay="1s")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> int:
    return await ctx.run("busy", busy)


def play(stage: Stage) -> None:
    run = stage.trigger()
    stage.box.advance("5h")
    assert stage.box.waiting_on(run) == ["busy"]
    assert run.refresh().status == "running"

    stage.box.advance("1h")
    assert run.refresh().result == 2
    stage.ran("busy", 2)
