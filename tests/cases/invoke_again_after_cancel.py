"""A resumed parent whose child was cancelled, or deleted, gets a new one."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from django_workflow.runtime.deletion import delete_runs
from tests.cases.bodies import mark
from tests.cases.stage import Stage


@workflow(name="invoke_again_after_cancel.child")
def child(ctx: WorkflowContext[Any]) -> Any:
    ctx.sleep("rest", "1h")
    return ctx.run("work", mark, "work")


@workflow(name="invoke_again_after_cancel")
def sync(ctx: WorkflowContext[Any]) -> Any:
    return ctx.parallel(lambda: ctx.invoke("child", child), lambda: ctx.sleep("nap", "1m"))[0]


@workflow(name="invoke_again_after_cancel.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    return (await ctx.parallel(ctx.invoke("child", child), ctx.sleep("nap", "1m")))[0]


def play(stage: Stage) -> None:
    run = stage.trigger()
    assert delete_runs([run.children.get().pk]) == 0
    stage.box.advance("1m")
    run.children.get().cancel()
    assert run.refresh().status == "failed"
    run.resume()
    assert sorted(run.children.values_list("status", flat=True)) == ["cancelled", "running"]

    run.children.get(status="running").cancel()
    assert run.refresh().status == "failed"
    assert delete_runs(list(run.children.values_list("pk", flat=True))) == 2
    run.resume()
    stage.box.advance("1h")
    assert run.refresh().result == "work"
    stage.ran("work")
