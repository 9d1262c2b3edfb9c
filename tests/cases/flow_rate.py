"""Under a rate no more bodies begin than it says, in any window of the period; the next begin when it opens."""

from __future__ import annotations

from typing import Any

from django_workflow import (
    AsyncWorkflowContext,
    FlowControl,
    WorkflowContext,
    flow_control,
    workflow,
)
from tests.cases.ledger import ledger
from tests.cases.stage import NOW, Stage, current_box

TWO_A_MINUTE = FlowControl("flow_rate", rate=2, period="1m")


def begin(number: int) -> None:
    seconds = (current_box().now - NOW).total_seconds()
    ledger.write(f"{number} at {seconds:g}")


@workflow(name="flow_rate", flow_control=TWO_A_MINUTE)
def sync(ctx: WorkflowContext[Any]) -> None:
    ctx.run("begin", begin, ctx.request_payload)


@workflow(name="flow_rate.async", flow_control=TWO_A_MINUTE)
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> None:
    await ctx.run("begin", begin, ctx.request_payload)


IN_ONE_PROCESS = True


def play(stage: Stage) -> None:
    stage.trigger(1)
    stage.box.advance("20s")
    runs = [stage.trigger(number) for number in (2, 3, 4, 5)]
    if not stage.box.crashes:
        assert runs[1].reason == (
            'waits for a slot of flow control "flow_rate" (place 1 of 3; 2 in 60 s)'
        )
    stage.box.advance("5m")

    # Who begins and dies has begun: a crash costs a place in the window, and then all comes later.
    # The windows of 1 and 2 are over at 60 and 80; those of 3 and 4 at 120 and 140.
    if not stage.box.crashes:
        stage.ran_in_order("1 at 0", "2 at 20", "3 at 60", "4 at 80", "5 at 120")
    begun = [int(line.split(" at ")[1]) for line in ledger.read()]
    assert all(later - first >= 60 for first, later in zip(begun, begun[2:], strict=False))
    assert {run.refresh().status for run in runs} == {"completed"}
    assert flow_control("flow_rate").state().rate == 2
