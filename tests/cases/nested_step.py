"""A verb inside a step's body is refused; the step's error says so."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import mark
from tests.cases.stage import Stage


@workflow(name="nested_step", retries=0)
def sync(ctx: WorkflowContext[Any]) -> None:
    ctx.run("outer", lambda: ctx.run("inner", mark, "inner"))


@workflow(name="nested_step.async", retries=0)
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> None:
    async def outer() -> None:
        await ctx.run("inner", mark, "inner")

    await ctx.run("outer", outer)


def play(stage: Stage) -> None:
    run = stage.trigger()

    assert run.status == "failed"
    assert run.failure.error_class.endswith(".MisplacedStepError")
    assert '"inner" was asked for inside the body of step "outer"' in run.failure.message
    assert stage.box.steps(run) == ["outer"]
    stage.ran("inner", 0)
