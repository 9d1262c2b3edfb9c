"""Under parallelism 1 one body runs at a time; the others stand in line, in the order in which they came."""

from __future__ import annotations

from typing import Any

from django_workflow import (
    AsyncWorkflowContext,
    FlowControl,
    WorkflowContext,
    flow_control,
    workflow,
)
from django_workflow.models import FlowTicket
from tests.cases.bodies import mark
from tests.cases.stage import Stage

ONE = FlowControl("flow_parallelism", parallelism=1)


@workflow(name="flow_parallelism", flow_control=ONE)
def sync(ctx: WorkflowContext[Any]) -> list[Any]:
    first = ctx.run("first", mark, f"first {ctx.request_payload}")
    ctx.sleep("rest", "1h")
    both = ctx.parallel(
        lambda: ctx.run("left", mark, f"left {ctx.request_payload}"),
        lambda: ctx.run("right", mark, f"right {ctx.request_payload}"),
    )
    return [first, *both]


@workflow(name="flow_parallelism.async", flow_control=ONE)
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> list[Any]:
    first = await ctx.run("first", mark, f"first {ctx.request_payload}")
    await ctx.sleep("rest", "1h")
    both = await ctx.parallel(
        ctx.run("left", mark, f"left {ctx.request_payload}"),
        ctx.run("right", mark, f"right {ctx.request_payload}"),
    )
    return [first, *both]


def play(stage: Stage) -> None:
    key = flow_control("flow_parallelism")
    key.pause()
    runs = [stage.trigger(number) for number in (1, 2, 3)]
    assert key.waiting == 3
    stage.ran("first 1", 0)
    assert runs[1].reason == (
        'waits for a slot of flow control "flow_parallelism" (paused; place 2 of 3; parallelism 1)'
    )
    key.resume()
    stage.ran_in_order("first 1", "first 2", "first 3")
    assert key.holding == key.waiting == 0

    stage.box.advance("1h")
    for number, run in enumerate(runs, 1):
        assert run.refresh().result == [f"first {number}", f"left {number}", f"right {number}"]
    assert not FlowTicket.objects.exists()
