"""Data that do not fit end no wait and are refused; what fits arrives as the schema has cleaned it."""

from __future__ import annotations

from typing import Any

import pytest

from django_workflow import (
    AsyncWorkflowContext,
    InvalidEventError,
    WorkflowContext,
    get_waiters,
    notify,
    workflow,
)
from django_workflow.models import Event
from tests.app.forms import BudgetForm
from tests.cases.stage import Stage


def even(value: Any) -> Any:
    if not isinstance(value, int) or value % 2:
        raise ValueError("an even number, please")
    return {"even": value}


@workflow(name="event_schema")
def sync(ctx: WorkflowContext[Any]) -> Any:
    if ctx.request_payload == "any":
        return ctx.wait_for_event("any", "number", timeout="1d").event_data
    first = ctx.wait_for_event("number", "number", timeout="1d", schema=even)
    second = ctx.wait_for_event("budget", "budget", timeout="1d", schema=BudgetForm)
    return [first.event_data, str(second.event_data["amount"])]


@workflow(name="event_schema.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    if ctx.request_payload == "any":
        return (await ctx.wait_for_event("any", "number", timeout="1d")).event_data
    first = await ctx.wait_for_event("number", "number", timeout="1d", schema=even)
    second = await ctx.wait_for_event("budget", "budget", timeout="1d", schema=BudgetForm)
    return [first.event_data, str(second.event_data["amount"])]


def play(stage: Stage) -> None:
    run = stage.trigger()
    [waiter] = get_waiters("number")
    assert (waiter.run.id, waiter.step, waiter.since) == (run.id, "number", stage.box.now)
    assert waiter.until is not None

    with pytest.raises(InvalidEventError, match="an even number, please") as caught:
        notify("number", 7)
    assert caught.value.reasons == ["tests.cases.event_schema.even: an even number, please"]
    assert stage.box.waiting_on(run) == ["number"]
    assert not Event.objects.exists()

    # Somebody else takes what this one refuses: the event goes there.
    other = stage.trigger("any")
    assert notify("number", 9).reached == 1
    assert other.refresh().result == 9
    assert stage.box.waiting_on(run) == ["number"]

    assert notify("number", 8).reached == 1
    with pytest.raises(InvalidEventError, match="amount"):
        notify("budget", {"amount": "much"}, workflow_run_id=run.id)
    assert notify("budget", {"amount": "2.50"}).reached == 1
    assert run.refresh().result == [{"even": 8}, "2.50"]
