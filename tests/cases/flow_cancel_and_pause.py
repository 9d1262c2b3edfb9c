"""A run in line that is cancelled or paused gives its place up; resumed, it stands in line again."""

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

OWN = FlowControl("flow_cancel", parallelism=1)


@workflow(name="flow_cancel_and_pause")
def sync(ctx: WorkflowContext[Any]) -> Any:
    ctx.run("before", mark, f"before {ctx.request_payload}")
    return ctx.using(flow_control=OWN).run("do", mark, f"do {ctx.request_payload}")


@workflow(name="flow_cancel_and_pause.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    await ctx.run("before", mark, f"before {ctx.request_payload}")
    return await ctx.using(flow_control=OWN).run("do", mark, f"do {ctx.request_payload}")


def play(stage: Stage) -> None:
    key = flow_control("flow_cancel")
    key.pause()
    cancelled, paused, patient = (stage.trigger(number) for number in (1, 2, 3))
    assert key.waiting == 3
    cancelled.cancel()
    paused.pause()
    assert key.waiting == 1

    key.resume()
    assert patient.refresh().result == "do 3"
    stage.ran("do 2", 0)

    paused.resume()
    assert paused.refresh().result == "do 2"
    assert cancelled.refresh().status == "cancelled"
    stage.ran("do 1", 0)
    assert (key.waiting, key.holding) == (0, 0)
