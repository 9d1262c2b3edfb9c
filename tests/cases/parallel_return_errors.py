"""With return_errors, errors stand in the place of results."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import broken, mark
from tests.cases.stage import Stage


@workflow(name="parallel_return_errors", retries=0)
def sync(ctx: WorkflowContext[Any]) -> Any:
    found = ctx.parallel(
        lambda: ctx.run("bad", broken, "bad"),
        lambda: ctx.run("good", mark, "good"),
        return_errors=True,
    )
    return [str(one) for one in found]


@workflow(name="parallel_return_errors.async", retries=0)
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    found = await ctx.parallel(
        ctx.run("bad", broken, "bad"), ctx.run("good", mark, "good"), return_errors=True
    )
    return [str(one) for one in found]


def play(stage: Stage) -> None:
    run = stage.trigger()

    assert run.result == [
        'Step "bad" gave up after 1 attempt: ValueError: bad is broken.',
        "good",
    ]
    stage.ran("bad")
