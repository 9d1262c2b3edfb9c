"""A sync body that takes too long: its result is set aside, and the next attempt begins when it has ended."""

from __future__ import annotations

from typing import Any

from django_workflow import (
    AsyncWorkflowContext,
    WorkflowContext,
    current_step,
    workflow,
)
from tests.cases.bodies import mark
from tests.cases.stage import Stage, current_box, outcomes

#: The play changes code, time or luck in its own process.
IN_ONE_PROCESS = True


def slow(name: str) -> int:
    """Take ten virtual minutes at the first attempt."""
    mark(name)
    attempt = current_step().attempt
    if attempt == 1:
        current_box().advance("10m")
    mark(f"{name} ended")
    return attempt


@workflow(name="step_timeout_sync", retries=1, retry_delay="1m")
def sync(ctx: WorkflowContext[Any]) -> int:
    return ctx.using(timeout="5m").run("slow", slow, "slow")


@workflow(name="step_timeout_sync.async", retries=1, retry_delay="1m")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> int:
    return await ctx.using(timeout="5m").run("slow", slow, "slow")


def play(stage: Stage) -> None:
    run = stage.trigger()
    stage.box.advance("1m")

    assert run.refresh().result == 2
    assert "timed_out" in outcomes(run)
    stage.ran("slow", 2)
