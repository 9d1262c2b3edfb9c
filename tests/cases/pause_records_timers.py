"""The timers of a paused run are recorded when they are over; nothing else happens."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import mark
from tests.cases.stage import Stage


@workflow(name="pause_records_timers")
def sync(ctx: WorkflowContext[Any]) -> list[str]:
    def late() -> str:
        ctx.sleep("long", "2h")
        return str(ctx.now())

    def early() -> str:
        ctx.sleep("short", "1h")
        return ctx.run("after", mark, "after")

    return list(ctx.parallel(late, early))


@workflow(name="pause_records_timers.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> list[str]:
    async def late() -> str:
        await ctx.sleep("long", "2h")
        return str(await ctx.now())

    async def early() -> str:
        await ctx.sleep("short", "1h")
        return await ctx.run("after", mark, "after")

    return list(await ctx.parallel(late, early))


def play(stage: Stage) -> None:
    run = stage.trigger()
    run.pause()
    stage.box.advance("1h")
    assert stage.box.waiting_on(run) == ["long"]
    stage.box.advance("5h")
    assert stage.box.waiting_on(run) == []
    assert run.refresh().status == "paused"
    assert run.steps.get(name="long").finished_at == stage.box.now - timedelta(hours=4)
    stage.ran("after", 0)

    run.resume()
    assert run.result == ["2030-06-01 14:00:00+00:00", "after"]
    stage.ran("after")
