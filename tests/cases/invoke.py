"""A run invokes others, by the workflow and by its name, and goes on with what they return."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import amark, mark
from tests.cases.stage import Stage


@workflow(name="invoke.child")
def child(ctx: WorkflowContext[Any]) -> Any:
    ctx.sleep("rest", "1h")
    return {"took": timedelta(hours=1), "of": ctx.run("work", mark, ctx.request_payload)}


@workflow(name="invoke.child.async")
async def achild(ctx: AsyncWorkflowContext[Any]) -> Any:
    return await ctx.run("work", amark, ctx.request_payload)


@workflow(name="invoke")
def sync(ctx: WorkflowContext[Any]) -> Any:
    first = ctx.invoke("first", child, "one", label="inner", workflow_run_id="own-id")
    second = ctx.invoke("second", "invoke.child.async", "two")
    return [first["took"] / timedelta(minutes=1), first["of"], second]


@workflow(name="invoke.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    first = await ctx.invoke("first", child, "one", label="inner", workflow_run_id="own-id")
    second = await ctx.invoke("second", "invoke.child.async", "two")
    return [first["took"] / timedelta(minutes=1), first["of"], second]


def play(stage: Stage) -> None:
    run = stage.trigger()
    inner = run.children.get()
    assert (inner.id, inner.parent, inner.labels) == ("own-id", run, ["inner"])
    assert stage.box.waiting_on(run) == ["first"]
    assert run.reason == (
        '"first" is waiting for run own-id of "invoke.child" since 2030-06-01 12:00:00 UTC'
    )

    stage.box.advance("1h")
    assert run.refresh().result == [60, "one", "two"]
    assert [(c.workflow, c.status, c.depth) for c in run.children.order_by("created_at")] == [
        ("invoke.child", "completed", 1),
        ("invoke.child.async", "completed", 1),
    ]
    assert not run.children.filter(parent_waits=True).exists()
    stage.ran_in_order("one", "two")
