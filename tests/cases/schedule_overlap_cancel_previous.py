"""A new slot cancels the run of the one before it."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, get_schedule, workflow
from django_workflow.models import Run
from tests.cases.stage import Stage

# Nothing is due until the clock fires a slot, and that is this process's.
IN_ONE_PROCESS = True


@workflow(name="schedule_overlap_cancel_previous")
def sync(ctx: WorkflowContext[Any]) -> None:
    ctx.sleep("work", "100m")


@workflow(name="schedule_overlap_cancel_previous.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> None:
    await ctx.sleep("work", "100m")


def play(stage: Stage) -> None:
    stage.workflow.schedule("0 9-12 * * *", schedule_id="busy", overlap="cancel_previous")
    stage.box.advance("1d12h")

    runs = Run.objects.filter(pk__in=stage.box.run_ids).order_by("created_at")
    assert [(run.scheduled_for.hour, run.status) for run in runs if run.scheduled_for] == [
        (9, "cancelled"),
        (10, "cancelled"),
        (11, "cancelled"),
        (12, "completed"),
    ]
    assert get_schedule("busy").skipped == 0
