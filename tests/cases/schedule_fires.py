"""A schedule starts a run for each slot, at its time; each run knows its slot."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from django_workflow.models import Run
from tests.cases.bodies import mark
from tests.cases.stage import Stage

# Nothing is due until the clock fires a slot, and that is this process's.
IN_ONE_PROCESS = True


@workflow(name="schedule_fires")
def sync(ctx: WorkflowContext[Any]) -> list[Any]:
    ctx.run("note", mark, f"{ctx.scheduled_for:%d %H}")
    ctx.sleep("rest", "1h")
    return [ctx.schedule_id, ctx.request_payload, ctx.workflow_run_created_at.day]


@workflow(name="schedule_fires.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> list[Any]:
    await ctx.run("note", mark, f"{ctx.scheduled_for:%d %H}")
    await ctx.sleep("rest", "1h")
    return [ctx.schedule_id, ctx.request_payload, ctx.workflow_run_created_at.day]


def play(stage: Stage) -> None:
    stage.workflow.schedule("0 9 * * *", schedule_id="each morning", payload={"a": 1}, label="m")
    stage.box.advance("3d")

    runs = list(Run.objects.filter(pk__in=stage.box.run_ids).order_by("created_at"))
    assert [run.result for run in runs] == [["each morning", {"a": 1}, day] for day in (2, 3, 4)]
    assert [f"{run.scheduled_for:%d %H:%M}" for run in runs] == ["02 09:00", "03 09:00", "04 09:00"]
    assert [run.created_at for run in runs] == [run.scheduled_for for run in runs]
    assert [run.labels for run in runs] == [["m"]] * 3
    stage.ran_in_order("02 09", "03 09", "04 09")
