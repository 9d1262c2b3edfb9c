"""Recorded steps that the code asks for in another order block the run."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import mark
from tests.cases.stage import Stage

#: The play changes code, time or luck in its own process.
IN_ONE_PROCESS = True


@workflow(name="steps_reordered")
def sync(ctx: WorkflowContext[Any]) -> str:
    ctx.run("one", mark, "one")
    ctx.run("two", mark, "two")
    ctx.sleep("rest", "1h")
    return ctx.run("three", mark, "three")


@workflow(name="steps_reordered.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> str:
    await ctx.run("one", mark, "one")
    await ctx.run("two", mark, "two")
    await ctx.sleep("rest", "1h")
    return await ctx.run("three", mark, "three")


def later(ctx: WorkflowContext[Any]) -> str:
    ctx.run("two", mark, "two")
    ctx.run("one", mark, "one")
    ctx.sleep("rest", "1h")
    return ctx.run("three", mark, "three")


async def alater(ctx: AsyncWorkflowContext[Any]) -> str:
    await ctx.run("two", mark, "two")
    await ctx.run("one", mark, "one")
    await ctx.sleep("rest", "1h")
    return await ctx.run("three", mark, "three")


def play(stage: Stage) -> None:
    run = stage.trigger()
    stage.deploy(later, alater)
    stage.box.advance("1h")

    assert run.refresh().status == "blocked"
    assert run.failure.error_class.endswith(".NonDeterminismError")
    assert 'run "one" was recorded' in run.failure.message
    assert 'run "two"' in run.failure.message
    assert run.handler_status == ""
    stage.ran("one")
    stage.ran("two")
    stage.ran("three", 0)
