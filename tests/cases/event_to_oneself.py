"""One branch of a run sends what another one waits for."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.stage import Stage


@workflow(name="event_to_oneself")
def sync(ctx: WorkflowContext[Any]) -> Any:
    got, sent = ctx.parallel(
        lambda: ctx.wait_for_event("got", "go", timeout="1d"),
        lambda: ctx.notify("send", "go", 1, workflow_run_id=ctx.workflow_run_id),
    )
    return [got.event_data, sent.reached]


@workflow(name="event_to_oneself.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    got, sent = await ctx.parallel(
        ctx.wait_for_event("got", "go", timeout="1d"),
        ctx.notify("send", "go", 1, workflow_run_id=ctx.workflow_run_id),
    )
    return [got.event_data, sent.reached]


def play(stage: Stage) -> None:
    run = stage.trigger()

    assert run.result == [1, 1]
