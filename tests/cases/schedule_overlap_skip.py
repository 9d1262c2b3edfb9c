"""A slot that comes while the run before it has not ended is left out."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, get_schedule, workflow
from django_workflow.models import Run
from tests.cases.stage import Stage

# Nothing is due until the clock fires a slot, and that is this process's.
IN_ONE_PROCESS = True


@workflow(name="schedule_overlap_skip")
def sync(ctx: WorkflowContext[Any]) -> None:
    ctx.sleep("work", "100m")


@workflow(name="schedule_overlap_skip.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> None:
    await ctx.sleep("work", "100m")


def play(stage: Stage) -> None:
    stage.workflow.schedule("0 9-12 * * *", schedule_id="busy", overlap="skip")
    stage.box.advance("1d12h")

    runs = Run.objects.filter(pk__in=stage.box.run_ids).order_by("created_at")
    assert [(run.scheduled_for.hour, run.status) for run in runs if run.scheduled_for] == [
        (9, "completed"),
        (11, "completed"),
    ]
    assert get_schedule("busy").skipped == 2
    assert "was skipped: run busy@20300602T1100Z had not ended" in get_schedule("busy").note
