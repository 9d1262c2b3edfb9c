"""Invoked runs stand in line as triggered ones do, under what the verb says, or `using()`, or their own workflow."""

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

CHILDREN = FlowControl("flow_of_children", parallelism=1)


@workflow(name="flow_of_children.child")
def child(ctx: WorkflowContext[Any]) -> Any:
    return ctx.run("work", mark, f"child {ctx.request_payload}")


@workflow(name="flow_of_children.own", flow_control=CHILDREN)
def own(ctx: WorkflowContext[Any]) -> Any:
    return ctx.run("work", mark, f"own {ctx.request_payload}")


@workflow(name="flow_of_children")
def sync(ctx: WorkflowContext[Any]) -> Any:
    limited = ctx.using(flow_control=CHILDREN)
    results = ctx.parallel(
        lambda: ctx.invoke("first", child, 1, flow_control=CHILDREN),
        lambda: limited.invoke("second", child, 2),
        lambda: ctx.invoke("third", own, 3),
    )
    return list(results)


@workflow(name="flow_of_children.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    limited = ctx.using(flow_control=CHILDREN)
    results = await ctx.parallel(
        ctx.invoke("first", child, 1, flow_control=CHILDREN),
        limited.invoke("second", child, 2),
        ctx.invoke("third", own, 3),
    )
    return list(results)


def play(stage: Stage) -> None:
    key = flow_control(CHILDREN.text_key)
    key.set(parallelism=1)
    key.pause()
    run = stage.trigger()
    assert key.waiting == 3
    assert [one.status for one in run.children.all()] == ["pending"] * 3

    key.resume()
    assert run.refresh().result == ["child 1", "child 2", "own 3"]
    stage.ran_in_order("child 1", "child 2", "own 3")
    assert not FlowTicket.objects.exists()
