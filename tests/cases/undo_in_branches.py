"""Steps of branches are taken back too; a resume asks for force, and what is undone is not undone again."""

from __future__ import annotations

from typing import Any

import pytest

from django_workflow import AsyncWorkflowContext, RunStateError, WorkflowContext, workflow
from tests.cases.bodies import broken, mark, take_back
from tests.cases.stage import Stage


@workflow(name="undo_in_branches", retries=0)
def sync(ctx: WorkflowContext[Any]) -> None:
    undoing = ctx.using(undo=take_back)
    ctx.parallel(
        lambda: undoing.run("book", mark, "left"),
        lambda: undoing.run("book", mark, "right"),
    )
    ctx.run("bad", broken, "bad")


@workflow(name="undo_in_branches.async", retries=0)
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> None:
    undoing = ctx.using(undo=take_back)
    await ctx.parallel(
        undoing.run("book", mark, "left"),
        undoing.run("book", mark, "right"),
    )
    await ctx.run("bad", broken, "bad")


def play(stage: Stage) -> None:
    run = stage.trigger()
    assert (run.status, run.undo_status) == ("failed", "completed")
    with pytest.raises(RunStateError, match="force=True"):
        run.resume()
    run.resume(force=True)

    assert (run.status, run.undo_status) == ("failed", "")
    stage.ran("undo book: done left ['left']")
    stage.ran("undo book: done right ['right']")
    stage.ran("bad", 2)
