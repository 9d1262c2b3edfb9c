"""A cancelled run takes its steps back, after its children are cancelled; one whose undo fails is cancelled all the same."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import mark, take_back, take_back_badly
from tests.cases.stage import Stage


@workflow(name="undo_cancel.child")
def child(ctx: WorkflowContext[Any]) -> None:
    ctx.using(undo=take_back).run("book", mark, "book")
    ctx.sleep("rest", "1d")


@workflow(name="undo_cancel", retries=0)
def sync(ctx: WorkflowContext[Any]) -> None:
    ctx.using(undo=take_back).run("reserve", mark, "reserve")
    ctx.using(undo=take_back_badly).run("charge", mark, "charge")
    ctx.parallel(lambda: ctx.invoke("child", child), lambda: ctx.sleep("rest", "1h"))


@workflow(name="undo_cancel.async", retries=0)
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> None:
    await ctx.using(undo=take_back).run("reserve", mark, "reserve")
    await ctx.using(undo=take_back_badly).run("charge", mark, "charge")
    await ctx.parallel(ctx.invoke("child", child), ctx.sleep("rest", "1h"))


def play(stage: Stage) -> None:
    run = stage.trigger()
    run.cancel()

    assert (run.refresh().status, run.undo_status) == ("cancelled", "failed")
    assert run.children.get().status == "cancelled"
    assert not run.deliveries.exists()
    stage.ran_in_order(
        "reserve",
        "charge",
        "book",
        "undo book: done book ['book']",
        "undo charge",
        "undo reserve: done reserve ['reserve']",
    )
    failed = run.steps.get(key="undo.1/undo charge")
    assert failed.failure.message == "Not reached."
