"""A payload of megabytes is taken, and comes back whole."""

from __future__ import annotations

from django_workflow import (
    AsyncWorkflowContext,
    WorkflowContext,
    workflow,
)
from tests.cases.bodies import mark
from tests.cases.stage import Stage


@workflow(name="big_payload")
def sync(ctx: WorkflowContext[str]) -> int:
    return ctx.run("measure", mark, "measured", len(ctx.request_payload))


@workflow(name="big_payload.async")
async def asynchronous(ctx: AsyncWorkflowContext[str]) -> int:
    return await ctx.run("measure", mark, "measured", len(ctx.request_payload))


def play(stage: Stage) -> None:
    run = stage.trigger("x" * 5_000_000)

    assert run.result == 5_000_000
    stage.ran("measured")
