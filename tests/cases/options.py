"""An option of using() wins over the trigger's, that over the workflow's."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import flaky
from tests.cases.stage import Stage


@workflow(name="options", retries=1, retry_delay="1m")
def sync(ctx: WorkflowContext[Any]) -> list[int]:
    own = ctx.using(retries=3, retry_delay="1s").run("own", flaky, "own", 3)
    return [own, ctx.run("trigger's", flaky, "trigger's", 2)]


@workflow(name="options.async", retries=1, retry_delay="1m")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> list[int]:
    own = await ctx.using(retries=3, retry_delay="1s").run("own", flaky, "own", 3)
    return [own, await ctx.run("trigger's", flaky, "trigger's", 2)]


def play(stage: Stage) -> None:
    run = stage.trigger(retries=2)
    failing = stage.trigger()
    stage.box.advance("3s")
    assert stage.box.waiting_on(run) == ["trigger's"]

    stage.box.advance("2m")
    assert run.refresh().result == [4, 3]
    assert failing.refresh().status == "failed"
    assert failing.failed_step == "trigger's"
    stage.ran("own", 8)
    stage.ran("trigger's", 5)
