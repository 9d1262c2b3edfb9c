"""Calls stand in line as bodies do."""

from __future__ import annotations

from typing import Any

from django_workflow import (
    AsyncWorkflowContext,
    FlowControl,
    WorkflowContext,
    flow_control,
    workflow,
)
from django_workflow.models import FlowTicket
from tests.cases.stage import Stage

#: The answers are in this process's box.
IN_ONE_PROCESS = True

URL = "https://partner.example/slow"
CALLS = FlowControl("flow_of_calls", parallelism=1)


@workflow(name="flow_of_calls")
def sync(ctx: WorkflowContext[Any]) -> Any:
    limited = ctx.using(flow_control=CALLS)
    answers = ctx.parallel(
        lambda: limited.call("one", URL).status,
        lambda: ctx.call("two", URL, flow_control=CALLS).status,
        lambda: ctx.call("free", URL).status,
    )
    return list(answers)


@workflow(name="flow_of_calls.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    limited = ctx.using(flow_control=CALLS)
    answers = await ctx.parallel(
        limited.call("one", URL),
        ctx.call("two", URL, flow_control=CALLS),
        ctx.call("free", URL),
    )
    return [one.status for one in answers]


def play(stage: Stage) -> None:
    stage.box.respond("GET", URL)
    key = flow_control(CALLS.text_key)
    key.set(parallelism=1)
    key.pause()
    run = stage.trigger()
    assert stage.box.waiting_on(run) == ["one", "two"]
    assert {call.step for call in stage.box.calls} == {"free"}
    assert 'waits for a slot of flow control "flow_of_calls" (paused; place 1 of 2' in run.reason

    key.resume()
    assert run.refresh().result == [200] * 3
    assert 3 <= len(stage.box.calls) <= 3 + stage.box.crashes
    assert not FlowTicket.objects.exists()
