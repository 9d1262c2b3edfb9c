"""A payload of megabytes is taken, one over the limit is refused at the trigger; nothing is written."""

from __future__ import annotations

import pytest

from django_workflow import (
    AsyncWorkflowContext,
    PayloadTooLargeError,
    WorkflowContext,
    workflow,
)
from tests.cases.bodies import mark
from tests.cases.stage import Stage


@workflow(name="big_payload")
def sync(ctx: WorkflowContext[str]) -> int:
    return ctx.run("measure", mark, "measured", len(ctx.request_payload))


@workflow(name="big_payload.async")
async def asynchronous(ctx: AsyncWorkflowContext[str]) -> int:
    return await ctx.run("measure", mark, "measured", len(ctx.request_payload))


def play(stage: Stage) -> None:
    with pytest.raises(PayloadTooLargeError) as caught:
        stage.trigger("x" * 50_000_000)
    assert (caught.value.size, caught.value.limit) == (50_000_002, 10_000_000)
    assert stage.box.run_ids == set()

    run = stage.trigger("x" * 5_000_000)
    assert run.result == 5_000_000
    stage.ran("measured")
