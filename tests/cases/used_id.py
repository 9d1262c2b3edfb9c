"""A used id gives the run that has it; with another payload it is refused."""

from __future__ import annotations

from typing import Any

import pytest

from django_workflow import (
    AsyncWorkflowContext,
    RunExistsError,
    WorkflowContext,
    workflow,
)
from tests.cases.bodies import double
from tests.cases.stage import Stage


@workflow(name="used_id")
def sync(ctx: WorkflowContext[Any]) -> int:
    return ctx.run("double", double, ctx.request_payload)


@workflow(name="used_id.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> int:
    return await ctx.run("double", double, ctx.request_payload)


def play(stage: Stage) -> None:
    run = stage.trigger(4, workflow_run_id="once")
    same = stage.trigger(4, workflow_run_id="once")
    with pytest.raises(RunExistsError, match='"once"'):
        stage.trigger(5, workflow_run_id="once")

    assert (run.created, same.created) == (True, False)
    assert run.result == same.result == 8
    stage.ran("double 4")
