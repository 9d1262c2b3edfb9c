"""A workflow that this process does not know is nobody's attempt: the run waits, and says for what."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import mark
from tests.cases.stage import Stage

#: The play changes code, time or luck in its own process.
IN_ONE_PROCESS = True


@workflow(name="unknown_workflow", retries=0)
def sync(ctx: WorkflowContext[Any]) -> str:
    ctx.sleep("rest", "1h")
    return ctx.run("step", mark, "step")


@workflow(name="unknown_workflow.async", retries=0)
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> str:
    await ctx.sleep("rest", "1h")
    return await ctx.run("step", mark, "step")


def play(stage: Stage) -> None:
    run = stage.trigger()
    stage.undeploy()
    stage.box.advance("1h")
    stage.box.advance("10s")
    assert run.refresh().status == "running"
    assert "o workflow" in run.reason
    assert stage.workflow.name in run.reason
    assert not run.attempts.exists()

    stage.redeploy()
    stage.box.advance("1m")
    assert run.refresh().result == "step"
    stage.ran("step")
