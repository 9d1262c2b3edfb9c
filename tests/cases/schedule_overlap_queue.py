"""One slot waits for the end of the run before it; what comes meanwhile is left out."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, get_schedule, workflow
from django_workflow.models import Run
from tests.cases.stage import Stage

# Nothing is due until the clock fires a slot, and that is this process's.
IN_ONE_PROCESS = True


@workflow(name="schedule_overlap_queue")
def sync(ctx: WorkflowContext[Any]) -> None:
    ctx.sleep("work", "100m")


@workflow(name="schedule_overlap_queue.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> None:
    await ctx.sleep("work", "100m")


def play(stage: Stage) -> None:
    stage.workflow.schedule("0 9-12 * * *", schedule_id="busy", overlap="queue")
    stage.box.advance("1d12h")

    runs = Run.objects.filter(pk__in=stage.box.run_ids).order_by("created_at")
    # 9:00 to 10:40; that of 10:00 from then to 12:20; that of 11:00 waits, so that of 12:00 is left out.
    found = [(run.scheduled_for.hour, run.status) for run in runs if run.scheduled_for]
    assert found == [(9, "completed"), (10, "completed"), (11, "completed")]
    assert [f"{run.created_at:%H:%M}" for run in runs] == ["09:00", "10:40", "12:20"]
    assert get_schedule("busy").skipped == 1
