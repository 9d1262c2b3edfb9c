"""Two steps, the second with the first one's result."""

from __future__ import annotations

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import double
from tests.cases.stage import Stage


@workflow(name="two_steps")
def sync(ctx: WorkflowContext[int]) -> int:
    return ctx.run("second", double, ctx.run("first", double, ctx.request_payload))


@workflow(name="two_steps.async")
async def asynchronous(ctx: AsyncWorkflowContext[int]) -> int:
    return await ctx.run("second", double, await ctx.run("first", double, ctx.request_payload))


def play(stage: Stage) -> None:
    run = stage.trigger(3)

    assert run.result == 12
    assert stage.box.steps(run) == ["first", "second"]
    stage.ran("double 3")
    stage.ran("double 6")
    stage.ran_in_order("double 3", "double 6")
