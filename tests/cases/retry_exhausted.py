"""When no retry is left the step's error ends the run."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import broken, mark
from tests.cases.stage import Stage


@workflow(name="retry_exhausted", retries=2, retry_delay="10s")
def sync(ctx: WorkflowContext[Any]) -> None:
    ctx.run("before", mark, "before")
    ctx.run("bad", broken, "bad")


@workflow(name="retry_exhausted.async", retries=2, retry_delay="10s")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> None:
    await ctx.run("before", mark, "before")
    await ctx.run("bad", broken, "bad")


def play(stage: Stage) -> None:
    run = stage.trigger()
    stage.box.advance("20s")

    assert run.refresh().status == "failed"
    assert run.failed_step == "bad"
    assert (run.failure.step, run.failure.attempts) == ("bad", 3)
    assert run.failure.error_class == "ValueError"
    assert "bad is broken." in run.failure.traceback
    assert run.attempts.filter(outcome="failed").count() == 3
    stage.ran("before")
    stage.ran("bad", 3)
