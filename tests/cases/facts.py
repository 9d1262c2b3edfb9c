"""What a context knows of its run."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import mark
from tests.cases.stage import Stage


@workflow(name="facts")
def sync(ctx: WorkflowContext[Any]) -> list[Any]:
    ctx.run("step", mark, "step")
    facts = [ctx.workflow_run_id, str(ctx.workflow_run_created_at), ctx.request_payload]
    return [*facts, dict(ctx.headers), list(ctx.labels), ctx.version, ctx.retried]


@workflow(name="facts.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> list[Any]:
    await ctx.run("step", mark, "step")
    facts = [ctx.workflow_run_id, str(ctx.workflow_run_created_at), ctx.request_payload]
    return [*facts, dict(ctx.headers), list(ctx.labels), ctx.version, ctx.retried]


def play(stage: Stage) -> None:
    run = stage.trigger({"a": 1}, label=["y", "x", "x"], headers={"h": "v"}, workflow_run_id="mine")

    assert run.id == "mine"
    created = "2030-06-01 12:00:00+00:00"
    assert run.result == ["mine", created, {"a": 1}, {"h": "v"}, ["x", "y"], "1", 0]
    assert (run.labels, run.headers, run.payload) == (["x", "y"], {"h": "v"}, {"a": 1})
    stage.ran("step")
