"""A blocked child tells nothing: its parent waits, and says for whom."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from django_workflow.runtime.deletion import delete_runs
from tests.cases.bodies import mark
from tests.cases.stage import Stage

IN_ONE_PROCESS = True


@workflow(name="invoke_blocked_child.child")
def child(ctx: WorkflowContext[Any]) -> Any:
    ctx.sleep("rest", "1h")
    return ctx.run("work", mark, "work")


@workflow(name="invoke_blocked_child")
def sync(ctx: WorkflowContext[Any]) -> Any:
    return ctx.invoke("child", child, workflow_run_id="inner")


@workflow(name="invoke_blocked_child.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    return await ctx.invoke("child", child, workflow_run_id="inner")


def play(stage: Stage) -> None:
    run = stage.trigger()
    usual = child.versions["1"]
    child.versions["1"] = lambda ctx: ctx.run("other", mark, "other")
    try:
        stage.box.advance("1h")
    finally:
        child.versions["1"] = usual
    inner = run.children.get()
    assert inner.status == "blocked"
    assert run.refresh().status == "running"
    assert run.reason.startswith(
        '"child" is waiting for run inner of "invoke_blocked_child.child", which is blocked, since'
    )
    assert delete_runs(["inner"]) == 0

    inner.resume()
    assert run.refresh().result == "work"
    stage.ran_in_order("work")
