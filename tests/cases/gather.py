"""Branches as an async function makes them: gather and a task group; sync: parallel in parallel."""

from __future__ import annotations

import asyncio
from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import double
from tests.cases.stage import Stage


@workflow(name="gather")
def sync(ctx: WorkflowContext[Any]) -> list[Any]:
    def both(number: int) -> Any:
        return ctx.parallel(
            lambda: ctx.run("one", double, number), lambda: ctx.run("two", double, number + 1)
        )

    first, second = ctx.parallel(lambda: both(1), lambda: both(10))
    return [*first, *second]


@workflow(name="gather.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> list[int]:
    first = await asyncio.gather(ctx.run("one", double, 1), ctx.run("two", double, 2))
    async with asyncio.TaskGroup() as group:
        one = group.create_task(ctx.run("one", double, 10))
        two = group.create_task(ctx.run("two", double, 11))
    return [*first, one.result(), two.result()]


def play(stage: Stage) -> None:
    run = stage.trigger()

    assert run.result == [2, 4, 20, 22]
    assert sorted(stage.box.steps(run)) == ["one", "one", "two", "two"]
    stage.ran("double 1")
    stage.ran("double 11")
