"""An attempt that failed gives its slot back for as long as it waits; the next attempt stands in line like others."""

from __future__ import annotations

from typing import Any

from django_workflow import (
    AsyncWorkflowContext,
    FlowControl,
    WorkflowContext,
    flow_control,
    workflow,
)
from tests.cases.bodies import flaky, mark
from tests.cases.stage import Stage

ONE = FlowControl("flow_retry", parallelism=1)


@workflow(name="flow_retry", flow_control=ONE, retry_delay="10m")
def sync(ctx: WorkflowContext[Any]) -> Any:
    if ctx.request_payload:
        return ctx.run("other", mark, "other")
    return ctx.run("flaky", flaky, "flaky", 1)


@workflow(name="flow_retry.async", flow_control=ONE, retry_delay="10m")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    if ctx.request_payload:
        return await ctx.run("other", mark, "other")
    return await ctx.run("flaky", flaky, "flaky", 1)


def play(stage: Stage) -> None:
    key = flow_control("flow_retry")
    run = stage.trigger()
    assert "is retried until" in run.reason
    assert (key.holding, key.waiting) == (0, 0)

    assert stage.trigger("other").result == "other"

    key.pause()
    stage.box.advance("10m")
    assert run.refresh().reason.startswith('"flaky" waits for a slot of flow control "flow_retry"')
    key.resume()
    assert run.refresh().result == 2
    assert (key.holding, key.waiting) == (0, 0)
