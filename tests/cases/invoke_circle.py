"""Runs that invoke each other in a circle end at the limit, from the deepest up."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.test import override_settings

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from django_workflow.models import Run
from tests.cases.stage import Stage

IN_ONE_PROCESS = True


@workflow(name="invoke_circle")
def sync(ctx: WorkflowContext[Any]) -> None:
    ctx.invoke("on", "invoke_circle", workflow_run_id=f"{ctx.workflow_run_id}.")


@workflow(name="invoke_circle.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> None:
    await ctx.invoke("on", "invoke_circle.async", workflow_run_id=f"{ctx.workflow_run_id}.")


def play(stage: Stage) -> None:
    with override_settings(WORKFLOW={**settings.WORKFLOW, "MAX_INVOKE_DEPTH": 3}):
        run = stage.trigger()

    assert run.status == "failed"
    assert Run.objects.count() == 4
    assert set(Run.objects.values_list("status", flat=True)) == {"failed"}
    assert 'WORKFLOW["MAX_INVOKE_DEPTH"] is 3' in run.failure.message
    assert "in a circle?" in run.failure.message
