"""When no attempt is left the step fails at its timeout, and the run goes on."""

from __future__ import annotations

from typing import Any

from django_workflow import (
    AsyncWorkflowContext,
    StepTimeoutError,
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


@workflow(name="step_timeout_gives_up", retries=0)
def sync(ctx: WorkflowContext[Any]) -> str:
    try:
        ctx.using(timeout="5m").run("slow", slow, "slow")
    except StepTimeoutError:
        ctx.sleep("think", "1h")
    return ctx.run("after", mark, "after")


@workflow(name="step_timeout_gives_up.async", retries=0)
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> str:
    try:
        await ctx.using(timeout="5m").run("slow", slow, "slow")
    except StepTimeoutError:
        await ctx.sleep("think", "1h")
    return await ctx.run("after", mark, "after")


def play(stage: Stage) -> None:
    run = stage.trigger()
    assert stage.box.waiting_on(run) == ["think"]
    stage.box.advance("1h")

    assert run.refresh().result == "after"
    assert "timed_out" in outcomes(run)
    stage.ran("slow")
    stage.ran("after")
