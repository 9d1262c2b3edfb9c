"""Calls and the items of a map stand in line as bodies do."""

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

#: The answers are in this process's box.
IN_ONE_PROCESS = True

URL = "https://partner.example/slow"
CALLS = FlowControl("flow_of_calls", parallelism=1)
ITEMS = FlowControl("flow_of_items", parallelism=1)


def item(number: int) -> int:
    ledger.write(f"item {number}, {flow_control(ITEMS.text_key).holding} at once")
    return number


@workflow(name="flow_of_other_steps")
def sync(ctx: WorkflowContext[Any]) -> Any:
    limited = ctx.using(flow_control=CALLS)
    answers = ctx.parallel(
        lambda: limited.call("one", URL).status,
        lambda: ctx.call("two", URL, flow_control=CALLS).status,
        lambda: ctx.call("free", URL).status,
    )
    items = ctx.using(flow_control=ITEMS).map("items", item, range(2), max_parallel=2)
    return [list(answers), items]


@workflow(name="flow_of_other_steps.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    limited = ctx.using(flow_control=CALLS)
    answers = await ctx.parallel(
        limited.call("one", URL),
        ctx.call("two", URL, flow_control=CALLS),
        ctx.call("free", URL),
    )
    items = await ctx.using(flow_control=ITEMS).map("items", item, range(2), max_parallel=2)
    return [[one.status for one in answers], items]


def play(stage: Stage) -> None:
    stage.box.respond("GET", URL)
    calls, items = (flow_control(one.text_key) for one in (CALLS, ITEMS))
    for key in (calls, items):
        key.set(parallelism=1)
        key.pause()
    run = stage.trigger()
    assert stage.box.waiting_on(run) == ["one", "two"]
    assert {call.step for call in stage.box.calls} == {"free"}
    assert 'waits for a slot of flow control "flow_of_calls" (paused; place 1 of 2' in run.reason

    calls.resume()
    assert items.waiting == 2
    assert not ledger.read()

    items.resume()
    for number in range(2):
        stage.ran(f"item {number}, 1 at once")
    assert run.refresh().result == [[200] * 3, [0, 1]]
    assert not FlowTicket.objects.exists()
