"""Restart makes a new run from the start, linked to the old, with the same payload and labels."""

from __future__ import annotations

from typing import Any

from django_workflow import (
    AsyncWorkflowContext,
    NonRetryableError,
    WorkflowContext,
    workflow,
)
from tests.app.models import Note
from tests.cases.bodies import double
from tests.cases.stage import Stage


def pick(number: int) -> int:
    if not Note.objects.exists():
        raise NonRetryableError("Not yet.")
    return double(number)


@workflow(name="restart")
def sync(ctx: WorkflowContext[Any]) -> list[Any]:
    return [ctx.run("double", pick, ctx.request_payload), list(ctx.labels), ctx.headers["a"]]


@workflow(name="restart.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> list[Any]:
    doubled = await ctx.run("double", pick, ctx.request_payload)
    return [doubled, list(ctx.labels), ctx.headers["a"]]


def play(stage: Stage) -> None:
    run = stage.trigger(4, label=["x", "y"], headers={"a": "b"})
    assert run.status == "failed"

    Note.objects.create(text="now")
    again = run.restart()
    assert again.id != run.id
    assert again.restarted_from_id == run.id
    assert again.result == [8, ["x", "y"], "b"]
    assert again.labels == ["x", "y"]
    assert run.refresh().status == "failed"
    stage.ran("double 4")
