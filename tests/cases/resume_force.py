"""Once the handler has run, resume asks for force; a second failure has a round of its own."""

from __future__ import annotations

from typing import Any

import pytest

from django_workflow import (
    AsyncWorkflowContext,
    Failure,
    RunStateError,
    WorkflowContext,
    workflow,
)
from tests.cases.bodies import broken, mark
from tests.cases.stage import Stage


@workflow(name="resume_force", retries=0)
def sync(ctx: WorkflowContext[Any]) -> None:
    ctx.run("bad", broken, "bad")


@sync.on_failure
def clean(ctx: WorkflowContext[Any], failure: Failure) -> None:
    ctx.run("clean", mark, "clean")


@workflow(name="resume_force.async", retries=0)
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> None:
    await ctx.run("bad", broken, "bad")


@asynchronous.on_failure
async def aclean(ctx: AsyncWorkflowContext[Any], failure: Failure) -> None:
    await ctx.run("clean", mark, "clean")


def play(stage: Stage) -> None:
    run = stage.trigger()
    with pytest.raises(RunStateError, match="force=True"):
        run.resume()

    run.resume(force=True)
    assert (run.status, run.handler_status) == ("failed", "completed")
    assert [step.key for step in run.steps.order_by("id")] == [
        "bad",
        "failure.1/clean",
        "failure.2/clean",
    ]
    stage.ran("bad", 2)
    stage.ran("clean", 2)
