"""NonRetryableError between steps fails the run at once."""

from __future__ import annotations

from typing import Any

from django_workflow import (
    AsyncWorkflowContext,
    NonRetryableError,
    WorkflowContext,
    workflow,
)
from tests.cases.bodies import mark
from tests.cases.stage import Stage


@workflow(name="code_refuses", retries=5)
def sync(ctx: WorkflowContext[Any]) -> None:
    ctx.run("before", mark, "before")
    raise NonRetryableError("There is no such step.")


@workflow(name="code_refuses.async", retries=5)
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> None:
    await ctx.run("before", mark, "before")
    raise NonRetryableError("There is no such step.")


def play(stage: Stage) -> None:
    run = stage.trigger()

    assert run.status == "failed"
    assert run.failure.message == "There is no such step."
    assert run.failure.step is None
    stage.ran("before")
