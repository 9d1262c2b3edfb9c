"""A parent may stop waiting; the child goes on, and its end changes nothing."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, StepTimeoutError, WorkflowContext, workflow
from tests.cases.bodies import mark
from tests.cases.stage import Stage


@workflow(name="invoke_timeout.child")
def child(ctx: WorkflowContext[Any]) -> str:
    ctx.sleep("rest", "2h")
    return str(ctx.run("work", mark, "work"))


@workflow(name="invoke_timeout")
def sync(ctx: WorkflowContext[Any]) -> Any:
    in_time = ctx.using(timeout="3h").invoke("in time", child)
    try:
        ctx.using(timeout="1h").invoke("too late", child)
    except StepTimeoutError as error:
        ctx.sleep("wait", "2h")
        return [in_time, error.step]


@workflow(name="invoke_timeout.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    in_time = await ctx.using(timeout="3h").invoke("in time", child)
    try:
        await ctx.using(timeout="1h").invoke("too late", child)
    except StepTimeoutError as error:
        await ctx.sleep("wait", "2h")
        return [in_time, error.step]


def play(stage: Stage) -> None:
    run = stage.trigger()
    stage.box.advance("3h")
    assert stage.box.waiting_on(run) == ["wait"]
    stage.box.advance("1h")
    assert stage.box.waiting_on(run) == ["wait"]
    assert set(run.children.values_list("status", "parent_waits")) == {("completed", False)}

    stage.box.advance("1h")
    assert run.refresh().result == ["work", "too late"]
    stage.ran("work", 2)
