"""An event for one run reaches no other, be it early or late."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, notify, workflow
from tests.cases.stage import Stage


@workflow(name="event_targeted")
def sync(ctx: WorkflowContext[Any]) -> Any:
    first = ctx.wait_for_event("first", "go", timeout="1d")
    second = ctx.wait_for_event("second", "go", timeout="1d")
    return [first.event_data, second.event_data]


@workflow(name="event_targeted.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    first = await ctx.wait_for_event("first", "go", timeout="1d")
    second = await ctx.wait_for_event("second", "go", timeout="1d")
    return [first.event_data, second.event_data]


def play(stage: Stage) -> None:
    one, two = stage.trigger(), stage.trigger()
    assert notify("go", "a", workflow_run_id=two.id).reached == 1
    assert stage.box.waiting_on(one) == ["first"]

    three = stage.trigger(delay="1h")
    assert notify("go", "early", workflow_run_id=three.id).reached == 0
    assert notify("go", "b").reached == 2
    assert two.refresh().result == ["a", "b"]
    assert stage.box.waiting_on(one) == ["second"]

    stage.box.advance("1h")
    assert stage.box.waiting_on(three) == ["second"]
    assert notify("go", "c").reached == 2
    assert one.refresh().result == ["b", "c"]
    assert three.refresh().result == ["early", "c"]
