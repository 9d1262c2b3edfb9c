"""An undo that has failed is tried again when the run fails again; what is undone is left alone."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import broken, mark, take_back, take_back_badly
from tests.cases.stage import Stage


@workflow(name="undo_again", retries=0)
def sync(ctx: WorkflowContext[Any]) -> None:
    for number in range(2):
        undo = take_back_badly if number == 0 else take_back
        ctx.using(undo=undo).run("book", mark, f"book {number}")
    ctx.run("bad", broken, "bad")


@workflow(name="undo_again.async", retries=0)
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> None:
    for number in range(2):
        undo = take_back_badly if number == 0 else take_back
        await ctx.using(undo=undo).run("book", mark, f"book {number}")
    await ctx.run("bad", broken, "bad")


def play(stage: Stage) -> None:
    run = stage.trigger()
    assert (run.refresh().status, run.undo_status, run.undo_round) == ("failed", "failed", 1)
    run.resume(force=True)

    assert (run.refresh().status, run.undo_status, run.undo_round) == ("failed", "failed", 2)
    stage.ran("undo book: done book 1 ['book 1']")
    stage.ran("undo book", 2)
