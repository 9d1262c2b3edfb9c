"""A failed run takes its steps back, the last one first, before its failure handler runs."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, Failure, WorkflowContext, workflow
from tests.cases.bodies import atake_back, broken, mark, take_back, take_back_later, write_note
from tests.cases.stage import Stage


@workflow(name="undo", retries=1, retry_delay="1m")
def sync(ctx: WorkflowContext[Any]) -> None:
    ctx.using(undo=take_back).run("reserve", mark, "reserve", 7)
    ctx.using(undo=take_back_later).atomic("note", write_note, "note")
    ctx.run("plain", mark, "plain")
    ctx.using(undo=atake_back).run("charge", mark, "charge")
    ctx.using(undo=take_back, retries=0).run("ship", broken, "ship")


@sync.on_failure
def tell(ctx: WorkflowContext[Any], failure: Failure) -> None:
    ctx.run("tell", mark, f"told of {failure.step}")


@workflow(name="undo.async", retries=1, retry_delay="1m")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> None:
    await ctx.using(undo=take_back).run("reserve", mark, "reserve", 7)
    await ctx.using(undo=take_back_later).atomic("note", write_note, "note")
    await ctx.run("plain", mark, "plain")
    await ctx.using(undo=atake_back).run("charge", mark, "charge")
    await ctx.using(undo=take_back, retries=0).run("ship", broken, "ship")


@asynchronous.on_failure
async def atell(ctx: AsyncWorkflowContext[Any], failure: Failure) -> None:
    await ctx.run("tell", mark, f"told of {failure.step}")


def play(stage: Stage) -> None:
    run = stage.trigger()
    assert (run.status, run.undo_status, run.handler_status) == ("failed", "running", "running")
    assert not run.is_finished
    stage.box.advance("1m")

    assert (run.refresh().status, run.undo_status) == ("failed", "completed")
    assert run.handler_status == "completed"
    assert run.is_finished
    stage.ran_in_order(
        "reserve",
        "note",
        "hook of note",
        "plain",
        "charge",
        "ship",
        "undo ship: unknown None ['ship']",
        "undo charge: done charge ['charge']",
        "undo note",
        "undo reserve: done 7 ['reserve', 7]",
        "told of ship",
    )
    assert [step.key for step in run.steps.filter(branch="undo.1/").order_by("sequence")] == [
        "undo.1/undo ship",
        "undo.1/undo charge",
        "undo.1/undo note",
        "undo.1/undo reserve",
    ]
