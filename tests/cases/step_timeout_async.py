"""An async body is cancelled at its step's timeout, which is an attempt."""

from __future__ import annotations

import asyncio
from typing import Any

from django_workflow import (
    AsyncWorkflowContext,
    StepTimeoutError,
    WorkflowContext,
    workflow,
)
from tests.cases.bodies import mark
from tests.cases.stage import Stage


async def never(name: str) -> None:
    mark(name)
    try:
        await asyncio.Event().wait()
    finally:
        mark(f"{name} was cancelled")


@workflow(name="step_timeout_async", retries=1, retry_delay="1m")
def sync(ctx: WorkflowContext[Any]) -> Any:
    try:
        ctx.using(timeout=0.02).run("slow", never, "slow")
    except StepTimeoutError as error:
        return [error.step, error.attempts]


@workflow(name="step_timeout_async.async", retries=1, retry_delay="1m")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    try:
        await ctx.using(timeout=0.02).run("slow", never, "slow")
    except StepTimeoutError as error:
        return [error.step, error.attempts]


def play(stage: Stage) -> None:
    run = stage.trigger()
    stage.box.advance("1m")

    assert run.refresh().result == ["slow", 2]
    assert run.attempts.filter(outcome="timed_out").count() == 2
    stage.ran("slow", 2)
    stage.ran("slow was cancelled", 2)
