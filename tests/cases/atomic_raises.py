"""Of an atomic step that raises nothing is written, and its hooks do not run."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.app.models import Note
from tests.cases.bodies import write_and_raise
from tests.cases.stage import Stage


@workflow(name="atomic_raises", retries=1, retry_delay="1m")
def sync(ctx: WorkflowContext[Any]) -> None:
    ctx.atomic("write", write_and_raise, "written")


@workflow(name="atomic_raises.async", retries=1, retry_delay="1m")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> None:
    await ctx.atomic("write", write_and_raise, "written")


def play(stage: Stage) -> None:
    run = stage.trigger()
    stage.box.advance("1m")

    assert run.refresh().status == "failed"
    assert run.failure.message == "Not like this."
    assert not Note.objects.exists()
    stage.ran("written", 2)
    stage.ran("hook of written", 0)
