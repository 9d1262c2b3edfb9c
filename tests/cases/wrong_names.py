"""A step's name that is empty, no text, or too long is an error that says so, before anything runs."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import mark
from tests.cases.stage import Stage


@workflow(name="wrong_names", retries=0)
def sync(ctx: WorkflowContext[Any]) -> None:
    ctx.run(ctx.request_payload, mark, "body")


@workflow(name="wrong_names.async", retries=0)
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> None:
    await ctx.run(ctx.request_payload, mark, "body")


def play(stage: Stage) -> None:
    runs = [stage.trigger(""), stage.trigger(7), stage.trigger("x" * 201)]

    assert [run.status for run in runs] == ["failed", "failed", "failed"]
    assert [run.failure.error_class.rpartition(".")[2] for run in runs] == [
        "InvalidOptionError"
    ] * 3
    assert "found 7" in runs[1].failure.message
    assert "200 characters" in runs[2].failure.message
    stage.ran("body", 0)
