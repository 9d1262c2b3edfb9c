"""Calls, items of a map and invoked runs stand in line as bodies do."""

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
from tests.cases.ledger import ledger
from tests.cases.stage import Stage

#: The answers are in this process's box.
IN_ONE_PROCESS = True

URL = "https://partner.example/slow"
CALLS = FlowControl("flow_of_calls", rate=1, period="1h")
ITEMS = FlowControl("flow_of_items", parallelism=1)
CHILDREN = FlowControl("flow_of_children", rate=1, period="1h")


@workflow(name="flow_of_other_steps.child")
def child(ctx: WorkflowContext[Any]) -> Any:
    return ctx.run("work", mark, f"child {ctx.request_payload}")


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
    items = ctx.using(flow_control=ITEMS).map("items", item, range(4), max_parallel=2)
    results = ctx.parallel(
        lambda: ctx.invoke("first", child, 1, flow_control=CHILDREN),
        lambda: ctx.invoke("second", child, 2, flow_control=CHILDREN),
    )
    return [list(answers), items, list(results)]


@workflow(name="flow_of_other_steps.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    limited = ctx.using(flow_control=CALLS)
    answers = await ctx.parallel(
        limited.call("one", URL),
        ctx.call("two", URL, flow_control=CALLS),
        ctx.call("free", URL),
    )
    items = await ctx.using(flow_control=ITEMS).map("items", item, range(4), max_parallel=2)
    results = await ctx.parallel(
        ctx.invoke("first", child, 1, flow_control=CHILDREN),
        ctx.invoke("second", child, 2, flow_control=CHILDREN),
    )
    return [[one.status for one in answers], items, list(results)]


def play(stage: Stage) -> None:
    stage.box.respond("GET", URL)
    gate = flow_control(ITEMS.text_key)
    gate.set(parallelism=1)
    gate.pause()
    run = stage.trigger()
    assert len(stage.box.waiting_on(run)) == 1
    assert {call.step for call in stage.box.calls} >= {"free"}
    assert len({call.step for call in stage.box.calls}) == 2
    assert "waits for a slot" in run.reason

    stage.box.advance("3h")
    assert gate.waiting == 2
    assert not [line for line in ledger.read() if line.startswith("item")]
    gate.resume()
    stage.box.settle()
    assert len([line for line in ledger.read() if line.startswith("child")]) == 1

    stage.box.advance("3h")
    assert run.refresh().result == [[200] * 3, [0, 1, 2, 3], ["child 1", "child 2"]]
    for number in range(4):
        stage.ran(f"item {number}, 1 at once")
    assert not FlowTicket.objects.exists()
