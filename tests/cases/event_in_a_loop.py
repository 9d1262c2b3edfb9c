"""Each time round, a wait takes the next event: kept ones in order, and none twice."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, notify, workflow
from tests.cases.bodies import mark
from tests.cases.stage import Stage


@workflow(name="event_in_a_loop")
def sync(ctx: WorkflowContext[Any]) -> Any:
    data = []
    for _ in range(4):
        arrived = ctx.wait_for_event("order", "orders", timeout="1h")
        data.append(ctx.run("use", mark, f"use {arrived.event_data}", arrived.event_data))
    return data


@workflow(name="event_in_a_loop.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    data = []
    for _ in range(4):
        arrived = await ctx.wait_for_event("order", "orders", timeout="1h")
        data.append(await ctx.run("use", mark, f"use {arrived.event_data}", arrived.event_data))
    return data


def play(stage: Stage) -> None:
    notify("orders", 1)
    notify("orders", 2)
    run = stage.trigger()
    assert stage.box.waiting_on(run) == ["order"]

    notify("orders", 3)
    assert stage.box.waiting_on(run) == ["order"]
    notify("orders", 4)

    assert run.refresh().result == [1, 2, 3, 4]
    assert notify("orders", 5).reached == 0
    stage.ran_in_order("use 1", "use 2", "use 3", "use 4")
