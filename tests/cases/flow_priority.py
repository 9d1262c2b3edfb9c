"""A run of higher priority goes before those in line; of equal ones the first that came."""

from __future__ import annotations

from typing import Any

from django_workflow import (
    AsyncWorkflowContext,
    FlowControl,
    WorkflowContext,
    flow_control,
    workflow,
)
from tests.cases.bodies import mark
from tests.cases.stage import Stage

BY_CUSTOMER = FlowControl(lambda payload: f"flow_priority {payload['of']}", parallelism=1)


@workflow(name="flow_priority", flow_control=BY_CUSTOMER)
def sync(ctx: WorkflowContext[Any]) -> None:
    ctx.run("do", mark, ctx.request_payload["do"])


@workflow(name="flow_priority.async", flow_control=BY_CUSTOMER)
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> None:
    await ctx.run("do", mark, ctx.request_payload["do"])


def play(stage: Stage) -> None:
    key = flow_control("flow_priority ann")
    key.pause()
    runs = [
        stage.trigger({"of": "ann", "do": name}, priority=priority)
        for name, priority in (("low", -5), ("first", 0), ("second", 0), ("urgent", 9))
    ]
    assert [run.reason.partition("place ")[2][0] for run in map(refreshed, runs)] == list("4231")

    # Another key's line is another line.
    free = stage.trigger({"of": "bob", "do": "free"})
    assert free.status == "completed"

    key.resume()
    stage.ran_in_order("free", "urgent", "first", "second", "low")


def refreshed(run: Any) -> Any:
    return run.refresh()
