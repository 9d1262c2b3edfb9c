"""The items of a map stand in line as bodies do, those of two slices one after the other."""

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
from tests.cases.ledger import ledger
from tests.cases.stage import Stage

ITEMS = FlowControl("flow_of_map", parallelism=1)


def item(number: int) -> int:
    ledger.write(f"item {number}, {flow_control(ITEMS.text_key).holding} at once")
    return number


@workflow(name="flow_of_map")
def sync(ctx: WorkflowContext[Any]) -> Any:
    return ctx.using(flow_control=ITEMS).map("items", item, range(3), max_parallel=2)


@workflow(name="flow_of_map.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    return await ctx.using(flow_control=ITEMS).map("items", item, range(3), max_parallel=2)


def play(stage: Stage) -> None:
    key = flow_control(ITEMS.text_key)
    key.set(parallelism=1)
    key.pause()
    run = stage.trigger()
    assert key.waiting == 2
    assert not ledger.read()

    key.resume()
    assert run.refresh().result == [0, 1, 2]
    for number in range(3):
        stage.ran(f"item {number}, 1 at once")
    assert not FlowTicket.objects.exists()
