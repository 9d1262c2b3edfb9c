"""A workflow without a step simply completes."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.stage import Stage


@workflow(name="zero_steps")
def sync(ctx: WorkflowContext[Any]) -> Any:
    return ctx.request_payload


@workflow(name="zero_steps.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    return ctx.request_payload


def play(stage: Stage) -> None:
    run = stage.trigger({"a": [1, None]})
    nothing = stage.trigger()

    assert run.result == {"a": [1, None]}
    assert nothing.result is None
    assert stage.box.steps(run) == []
    assert not run.deliveries.exists()
