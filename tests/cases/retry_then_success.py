"""A step that fails twice is tried a third time; its failures are kept."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import flaky
from tests.cases.stage import Stage


@workflow(name="retry_then_success", retries=3, retry_delay="10s")
def sync(ctx: WorkflowContext[Any]) -> int:
    return ctx.run("flaky", flaky, "flaky", 2)


@workflow(name="retry_then_success.async", retries=3, retry_delay="10s")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> int:
    return await ctx.run("flaky", flaky, "flaky", 2)


def play(stage: Stage) -> None:
    run = stage.trigger()
    assert run.waiting_for[0].status == "retrying"
    assert "Try 1 failed." in run.reason

    stage.box.advance("10s")
    assert "Try 2 failed." in run.refresh().reason

    stage.box.advance("10s")
    assert run.refresh().result == 3
    tries = run.attempts.filter(outcome="failed").order_by("number")
    assert [attempt.failure.message for attempt in tries] == ["Try 1 failed.", "Try 2 failed."]
    stage.ran("flaky", 3)
