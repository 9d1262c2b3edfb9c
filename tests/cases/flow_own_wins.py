"""A step's own flow control is in the place of its run's, the trigger's in the place of the workflow's."""

from __future__ import annotations

from typing import Any

from django_workflow import (
    AsyncWorkflowContext,
    FlowControl,
    WorkflowContext,
    flow_control,
    workflow,
)
from tests.cases.bodies import mark
from tests.cases.stage import Stage

WORKFLOWS = FlowControl("flow_own.workflow", parallelism=1)
TRIGGERS = FlowControl("flow_own.trigger", parallelism=1)
STEPS = FlowControl("flow_own.step", parallelism=1)


@workflow(name="flow_own_wins", flow_control=WORKFLOWS)
def sync(ctx: WorkflowContext[Any]) -> None:
    ctx.run("plain", mark, "plain")
    ctx.using(flow_control=STEPS).atomic("own", mark, "own")


@workflow(name="flow_own_wins.async", flow_control=WORKFLOWS)
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> None:
    await ctx.run("plain", mark, "plain")
    await ctx.using(flow_control=STEPS).atomic("own", mark, "own")


def play(stage: Stage) -> None:
    for key in (WORKFLOWS, TRIGGERS, STEPS):
        flow_control(str(key.key)).pause()
    run = stage.trigger()
    other = stage.trigger(flow_control=TRIGGERS)
    assert 'flow control "flow_own.workflow"' in run.reason
    assert 'flow control "flow_own.trigger"' in other.reason

    flow_control("flow_own.workflow").resume()
    assert run.refresh().reason == (
        '"own" waits for a slot of flow control "flow_own.step" (paused; place 1 of 1; parallelism 1)'
    )
    assert stage.box.waiting_on(run) == ["own"]
    flow_control("flow_own.step").resume()
    assert run.refresh().status == "completed"
    stage.ran("own")
    stage.ran("plain")

    flow_control("flow_own.trigger").resume()
    assert other.refresh().status == "completed"
