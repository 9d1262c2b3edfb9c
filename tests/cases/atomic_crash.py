"""A death inside an atomic step leaves nothing of it; the next attempt is exactly once."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.app.models import Note
from tests.cases.bodies import write_note
from tests.cases.stage import Stage

#: The play changes code, time or luck in its own process.
IN_ONE_PROCESS = True


@workflow(name="atomic_crash")
def sync(ctx: WorkflowContext[Any]) -> str:
    return ctx.atomic("write", write_note, "written")


@workflow(name="atomic_crash.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> str:
    return await ctx.atomic("write", write_note, "written")


def play(stage: Stage) -> None:
    stage.box.crash_after("write")
    run = stage.trigger()
    stage.box.settle()

    assert run.refresh().result == "written"
    assert Note.objects.count() == 1
    stage.ran_at_most("written", 2)
