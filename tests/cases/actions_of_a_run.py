"""What people do to a run is kept with it; what its own code does is no action."""

from __future__ import annotations

from typing import Any

import pytest

from django_workflow import AsyncWorkflowContext, RunStateError, WorkflowContext, workflow
from tests.cases.stage import Stage


@workflow(name="actions_of_a_run")
def sync(ctx: WorkflowContext[Any]) -> None:
    if ctx.request_payload == "give up":
        ctx.cancel()
    ctx.sleep("rest", "1h")


@workflow(name="actions_of_a_run.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> None:
    if ctx.request_payload == "give up":
        await ctx.cancel()
    await ctx.sleep("rest", "1h")


def play(stage: Stage) -> None:
    run = stage.trigger()
    run.pause(actor="Ann", why="wait for Bob")
    with pytest.raises(RunStateError):
        run.pause(actor="Ann")
    run.resume(actor="Bob")
    run.cancel()

    assert [(a.verb, a.actor, a.why, a.before, a.after) for a in run.actions] == [
        ("pause", "Ann", "wait for Bob", "running", "paused"),
        ("resume", "Bob", "", "paused", "running"),
        ("cancel", "", "", "running", "cancelled"),
    ]

    by_itself = stage.trigger("give up")
    assert by_itself.refresh().status == "cancelled"
    assert not by_itself.actions.exists()
