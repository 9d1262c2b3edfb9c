"""A run with not_before begins at that moment; one that is over does not hold it up."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import mark
from tests.cases.stage import Stage


@workflow(name="not_before")
def sync(ctx: WorkflowContext[Any]) -> str:
    return ctx.run("step", mark, "step")


@workflow(name="not_before.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> str:
    return await ctx.run("step", mark, "step")


def play(stage: Stage) -> None:
    run = stage.trigger(not_before="2030-06-02T00:00:00+00:00")
    past = stage.trigger(not_before="2030-05-01T00:00:00+00:00")
    assert (run.status, past.status) == ("pending", "completed")

    stage.box.advance("12h")
    assert run.refresh().status == "completed"
    assert run.finished_at == datetime(2030, 6, 2, tzinfo=UTC)
    stage.ran("step", 2)
