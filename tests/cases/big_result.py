"""A result over the limit is an error of its step; one below it is kept."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import mark
from tests.cases.stage import Stage


def much(size: int) -> str:
    mark(f"much {size}")
    return "x" * size


@workflow(name="big_result", retries=0)
def sync(ctx: WorkflowContext[Any]) -> int:
    kept = ctx.run("megabytes", much, 1_000_000)
    ctx.run("too many", much, 11_000_000)
    return len(kept)


@workflow(name="big_result.async", retries=0)
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> int:
    kept = await ctx.run("megabytes", much, 1_000_000)
    await ctx.run("too many", much, 11_000_000)
    return len(kept)


def play(stage: Stage) -> None:
    run = stage.trigger()

    assert run.status == "failed"
    assert run.failed_step == "too many"
    assert run.failure.error_class.endswith(".PayloadTooLargeError")
    assert len(run.steps.get(name="megabytes").result) == 1_000_000
    stage.ran("much 1000000")
