"""A paused run stays where it is, and goes on as what it was."""

from __future__ import annotations

from typing import Any

import pytest

from django_workflow import AsyncWorkflowContext, RunStateError, WorkflowContext, workflow
from tests.cases.bodies import mark
from tests.cases.stage import Stage


@workflow(name="pause_and_resume")
def sync(ctx: WorkflowContext[Any]) -> str:
    ctx.sleep("rest", "1h")
    return ctx.run("after", mark, "after")


@workflow(name="pause_and_resume.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> str:
    await ctx.sleep("rest", "1h")
    return await ctx.run("after", mark, "after")


def play(stage: Stage) -> None:
    run = stage.trigger()
    waiting = stage.trigger(delay="1h")
    run.pause()
    waiting.pause()
    with pytest.raises(RunStateError, match="is paused"):
        run.pause()
    stage.box.advance("30m")
    run.resume()
    waiting.resume()
    assert (run.status, waiting.status) == ("running", "pending")
    stage.ran("after", 0)

    stage.box.advance("30m")
    assert run.refresh().result == "after"
    assert stage.box.waiting_on(waiting) == ["rest"]

    stage.box.advance("1h")
    assert waiting.refresh().result == "after"
    with pytest.raises(RunStateError, match="is completed"):
        run.resume()
