"""A body may trigger runs and go on: a body that is repeated finds them, and triggers none twice."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, current_step, workflow
from django_workflow.models import Run
from tests.cases.bodies import mark
from tests.cases.stage import Stage


@workflow(name="trigger_in_a_body.other")
def other(ctx: WorkflowContext[Any]) -> None:
    ctx.run("work", mark, "work")


def trigger_three(fails: bool) -> list[str]:
    attempt = current_step().attempt
    found = [other.trigger(attempt), *other.trigger_many([1, 2])]
    if fails and attempt == 1:
        raise ConnectionError("Not yet.")
    return [run.id for run in found]


@workflow(name="trigger_in_a_body", retry_delay="1s")
def sync(ctx: WorkflowContext[Any]) -> Any:
    plain = ctx.run("send", trigger_three, True)
    return plain + ctx.atomic("send in one", trigger_three, True)


@workflow(name="trigger_in_a_body.async", retry_delay="1s")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    plain = await ctx.run("send", trigger_three, True)
    return plain + await ctx.atomic("send in one", trigger_three, True)


def play(stage: Stage) -> None:
    run = stage.trigger()
    stage.box.advance("5s")

    assert len(set(run.refresh().result)) == 6
    assert set(run.result) == set(Run.objects.exclude(pk=run.pk).values_list("pk", flat=True))
    assert set(Run.objects.values_list("status", flat=True)) == {"completed"}
    stage.ran("work", 6)
