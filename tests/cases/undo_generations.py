"""A generation that has ended well is not undone; one that cancels itself from inside is, and so is its neighbour of the same name."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import mark, take_back, write_note
from tests.cases.stage import Stage


@workflow(name="undo_generations", retries=0)
def sync(ctx: WorkflowContext[Any]) -> None:
    number = ctx.request_payload or 0
    ctx.using(undo=take_back).run("book", mark, f"book {number}")
    ctx.using(undo=take_back).atomic("note", write_note, f"note {number}")
    if number == 0:
        ctx.continue_as_new(1)
    ctx.using(undo=take_back).run("book", mark, "second")
    ctx.cancel()


@workflow(name="undo_generations.async", retries=0)
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> None:
    number = ctx.request_payload or 0
    await ctx.using(undo=take_back).run("book", mark, f"book {number}")
    await ctx.using(undo=take_back).atomic("note", write_note, f"note {number}")
    if number == 0:
        await ctx.continue_as_new(1)
    await ctx.using(undo=take_back).run("book", mark, "second")
    await ctx.cancel()


def play(stage: Stage) -> None:
    run = stage.trigger()

    assert (run.refresh().status, run.undo_status) == ("cancelled", "completed")
    stage.ran_in_order(
        "book 0",
        "note 0",
        "hook of note 0",
        "book 1",
        "note 1",
        "hook of note 1",
        "second",
        "undo book: done second ['second']",
        "undo note: done note 1 ['note 1']",
        "undo book: done book 1 ['book 1']",
    )
    assert not run.deliveries.exists()
