"""A failed child tells its parent after its failure handler has ended; the parent may catch that."""

from __future__ import annotations

from typing import Any

from django_workflow import (
    AsyncWorkflowContext,
    ChildRunError,
    Failure,
    WorkflowContext,
    workflow,
)
from tests.cases.bodies import mark, refused
from tests.cases.stage import Stage


@workflow(name="invoke_failed_child.child")
def child(ctx: WorkflowContext[Any]) -> None:
    ctx.run("work", refused, ctx.request_payload)


@child.on_failure
def clean(ctx: WorkflowContext[Any], failure: Failure) -> None:
    ctx.sleep("wait", "1h")
    ctx.run("clean", mark, f"clean {ctx.request_payload}")


@workflow(name="invoke_failed_child")
def sync(ctx: WorkflowContext[Any]) -> None:
    try:
        ctx.invoke("caught", child, "one", workflow_run_id="one")
    except ChildRunError as error:
        ctx.run("caught it", mark, f"{error.run_id} {error.step} {error.failure.message}")
    ctx.invoke("not caught", child, "two", workflow_run_id="two")


@workflow(name="invoke_failed_child.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> None:
    try:
        await ctx.invoke("caught", child, "one", workflow_run_id="one")
    except ChildRunError as error:
        await ctx.run("caught it", mark, f"{error.run_id} {error.step} {error.failure.message}")
    await ctx.invoke("not caught", child, "two", workflow_run_id="two")


def play(stage: Stage) -> None:
    run = stage.trigger()
    assert run.children.get().status == "failed"
    assert stage.box.waiting_on(run) == ["caught"]

    stage.box.advance("1h")
    assert stage.box.waiting_on(run) == ["not caught"]
    stage.box.advance("1h")

    assert run.refresh().status == "failed"
    assert (run.failure.step, run.failure.run_id) == ("not caught", "two")
    assert run.failure.message == "two is refused."
    stage.ran_in_order("one", "clean one", "one caught one is refused.", "two", "clean two")
