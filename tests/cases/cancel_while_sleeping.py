"""A cancelled run never wakes."""

from __future__ import annotations

from typing import Any

import pytest

from django_workflow import AsyncWorkflowContext, RunStateError, WorkflowContext, workflow
from tests.cases.bodies import mark
from tests.cases.stage import Stage


@workflow(name="cancel_while_sleeping")
def sync(ctx: WorkflowContext[Any]) -> None:
    ctx.run("before", mark, "before")
    ctx.sleep("rest", "2d")
    ctx.run("after", mark, "after")


@workflow(name="cancel_while_sleeping.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> None:
    await ctx.run("before", mark, "before")
    await ctx.sleep("rest", "2d")
    await ctx.run("after", mark, "after")


def play(stage: Stage) -> None:
    run = stage.trigger()
    run.cancel()
    stage.box.advance("7d")

    assert run.refresh().status == "cancelled"
    assert [(step.name, step.status) for step in run.steps.order_by("id")] == [
        ("before", "completed"),
        ("rest", "cancelled"),
    ]
    assert not run.deliveries.exists()
    with pytest.raises(RunStateError, match="is cancelled"):
        run.cancel()
    stage.ran("after", 0)
