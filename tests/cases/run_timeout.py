"""A run that has not ended by its timeout fails, wherever it waits; its handler has no deadline."""

from __future__ import annotations

from typing import Any

from django_workflow import (
    AsyncWorkflowContext,
    Failure,
    WorkflowContext,
    workflow,
)
from tests.cases.bodies import mark
from tests.cases.stage import Stage


@workflow(name="run_timeout", timeout="1d")
def sync(ctx: WorkflowContext[Any]) -> None:
    ctx.run("before", mark, "before")
    ctx.sleep("too long", "2d")
    ctx.run("after", mark, "after")


@sync.on_failure
def handler(ctx: WorkflowContext[Any], failure: Failure) -> None:
    ctx.sleep("no hurry", "3d")
    ctx.run("handle", mark, "handle")


@workflow(name="run_timeout.async", timeout="1d")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> None:
    await ctx.run("before", mark, "before")
    await ctx.sleep("too long", "2d")
    await ctx.run("after", mark, "after")


@asynchronous.on_failure
async def ahandler(ctx: AsyncWorkflowContext[Any], failure: Failure) -> None:
    await ctx.sleep("no hurry", "3d")
    await ctx.run("handle", mark, "handle")


def play(stage: Stage) -> None:
    run = stage.trigger()
    longer = stage.trigger(timeout="1w")
    stage.box.advance("1d")
    assert (run.refresh().status, run.handler_status) == ("failed", "running")
    assert run.failure.message == "The run had not ended by 2030-06-02 12:00:00 UTC, its timeout."

    stage.box.advance("3d")
    assert run.refresh().handler_status == "completed"
    assert longer.refresh().status == "completed"
    stage.ran("after")
    stage.ran("handle")
