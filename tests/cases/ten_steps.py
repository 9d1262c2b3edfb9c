"""Ten steps in a row."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import double
from tests.cases.stage import Stage


@workflow(name="ten_steps")
def sync(ctx: WorkflowContext[Any]) -> int:
    number = 1
    for index in range(10):
        number = ctx.run(f"step {index}", double, number)
    return number


@workflow(name="ten_steps.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> int:
    number = 1
    for index in range(10):
        number = await ctx.run(f"step {index}", double, number)
    return number


def play(stage: Stage) -> None:
    run = stage.trigger()

    assert run.result == 1024
    assert stage.box.steps(run) == [f"step {index}" for index in range(10)]
    stage.ran_in_order(*(f"double {2**index}" for index in range(10)))
    stage.ran("double 512")
