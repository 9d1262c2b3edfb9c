"""Sleeping until a moment that is to come."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import mark
from tests.cases.stage import Stage


@workflow(name="sleep_until_future")
def sync(ctx: WorkflowContext[Any]) -> str:
    ctx.sleep_until("summer ends", "2030-09-01T00:00:00+00:00")
    ctx.sleep_until("new year", date(2031, 1, 1))
    return ctx.run("after", mark, "after")


@workflow(name="sleep_until_future.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> str:
    await ctx.sleep_until("summer ends", "2030-09-01T00:00:00+00:00")
    await ctx.sleep_until("new year", date(2031, 1, 1))
    return await ctx.run("after", mark, "after")


def play(stage: Stage) -> None:
    run = stage.trigger()
    assert stage.box.waiting_on(run) == ["summer ends"]

    stage.box.advance("100d")
    assert stage.box.waiting_on(run) == ["new year"]

    stage.box.advance("200d")
    assert run.refresh().finished_at == datetime(2031, 1, 1, tzinfo=UTC)
    assert run.result == "after"
    stage.ran("after")
