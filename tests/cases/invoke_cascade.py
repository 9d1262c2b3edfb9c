"""A cancelled run takes its children with it, over three levels, but for those that are to stay."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from django_workflow.models import Run
from tests.cases.bodies import mark
from tests.cases.stage import Stage


@workflow(name="invoke_cascade.leaf")
def leaf(ctx: WorkflowContext[Any]) -> None:
    ctx.sleep("rest", "1d")
    ctx.run("leaf", mark, ctx.workflow_run_id)


@workflow(name="invoke_cascade.middle")
def middle(ctx: WorkflowContext[Any]) -> None:
    ctx.parallel(
        lambda: ctx.invoke("left", leaf, workflow_run_id="left"),
        lambda: ctx.invoke("right", leaf, workflow_run_id="right"),
        lambda: ctx.invoke("stays", leaf, workflow_run_id="stays", cascade=False),
    )


@workflow(name="invoke_cascade")
def sync(ctx: WorkflowContext[Any]) -> None:
    ctx.invoke("middle", middle, workflow_run_id="middle")


@workflow(name="invoke_cascade.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> None:
    await ctx.invoke("middle", middle, workflow_run_id="middle")


def play(stage: Stage) -> None:
    run = stage.trigger()
    run.cancel()
    assert not Run.objects.stuck().exists()
    assert run.status == "cancelled"
    assert not run.deliveries.exists()

    stage.box.advance("1d")
    assert dict(Run.objects.exclude(pk=run.pk).values_list("id", "status")) == {
        "middle": "cancelled",
        "left": "cancelled",
        "right": "cancelled",
        "stays": "completed",
    }
    stage.ran_in_order("stays")
