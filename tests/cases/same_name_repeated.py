"""The same name in a loop: each time is a step of its own."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import double
from tests.cases.stage import Stage


@workflow(name="same_name_repeated")
def sync(ctx: WorkflowContext[Any]) -> list[int]:
    found = []
    for number in range(4):
        found.append(ctx.run("double", double, number))
        ctx.sleep("rest", "1h")
    return found


@workflow(name="same_name_repeated.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> list[int]:
    found = []
    for number in range(4):
        found.append(await ctx.run("double", double, number))
        await ctx.sleep("rest", "1h")
    return found


def play(stage: Stage) -> None:
    run = stage.trigger()
    stage.box.advance("4h")

    assert run.refresh().result == [0, 2, 4, 6]
    assert stage.box.steps(run) == ["double", "rest"] * 4
    keys = run.steps.filter(name="double").order_by("sequence").values_list("key", flat=True)
    assert list(keys) == ["double", "double#2", "double#3", "double#4"]
    stage.ran("double 0")
    stage.ran("double 3")
