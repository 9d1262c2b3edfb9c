"""A paused run makes no new attempt of its calls; resumed, it goes on with what is left of them. Cancelled, none."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.stage import Stage

#: The answers are in this process's box.
IN_ONE_PROCESS = True

URL = "https://partner.example"


@workflow(name="call_paused")
def sync(ctx: WorkflowContext[Any]) -> Any:
    return ctx.call("ask", URL, retries=2, retry_delay="1m", headers={"Cookie": "shh"}).status


@workflow(name="call_paused.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    return (
        await ctx.call("ask", URL, retries=2, retry_delay="1m", headers={"Cookie": "shh"})
    ).status


def play(stage: Stage) -> None:
    stage.box.respond("GET", URL, status=503, attempt=1)
    stage.box.respond("GET", URL)
    run, other = stage.trigger(), stage.trigger()
    run.pause()
    stage.box.advance("2m")
    assert run.refresh().steps.get().attempts == 1
    assert other.refresh().result == 200

    run.resume()
    assert run.refresh().result == 200

    third = stage.trigger()
    third.cancel()
    stage.box.advance("2m")
    assert third.refresh().steps.get().status == "cancelled"
    assert not third.calls.exists()
