"""What a step returns is the decoded form, already at the first pass."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import mark
from tests.cases.stage import Stage

VALUE = {
    "when": datetime(2030, 1, 1, tzinfo=UTC),
    "price": Decimal("1.10"),
    "pair": (1, "two"),
    "none": None,
    "text": "\x00 and ✓",
}


@workflow(name="values")
def sync(ctx: WorkflowContext[Any]) -> list[Any]:
    value = ctx.run("value", mark, "value", VALUE)
    return [value == VALUE, value is VALUE, value]


@workflow(name="values.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> list[Any]:
    value = await ctx.run("value", mark, "value", VALUE)
    return [value == VALUE, value is VALUE, value]


def play(stage: Stage) -> None:
    run = stage.trigger()

    assert run.result == [True, False, VALUE]
    stage.ran("value")
