"""Branches send events, one of them to a run that does not exist: its step fails."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, StepError, WorkflowContext, workflow
from django_workflow.models import Event
from tests.cases.stage import Stage


@workflow(name="event_from_branches")
def sync(ctx: WorkflowContext[Any]) -> Any:
    def lost() -> str:
        try:
            ctx.notify("lost", "a", workflow_run_id="no such run")
        except StepError as error:
            return error.failure.error_class
        return ""

    return list(ctx.parallel(lost, lambda: ctx.notify("kept", "b", 1).reached))


@workflow(name="event_from_branches.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    async def lost() -> str:
        try:
            await ctx.notify("lost", "a", workflow_run_id="no such run")
        except StepError as error:
            return error.failure.error_class
        return ""

    async def kept() -> int:
        return (await ctx.notify("kept", "b", 1)).reached

    return list(await ctx.parallel(lost(), kept()))


def play(stage: Stage) -> None:
    run = stage.trigger()

    assert run.result == ["django_workflow.core.exceptions.RunNotFoundError", 0]
    assert list(Event.objects.values_list("event_id", flat=True)) == ["b"]
