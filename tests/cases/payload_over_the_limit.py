"""A payload over the limit is refused at the trigger; nothing is written."""

from __future__ import annotations

import pytest

from django_workflow import (
    AsyncWorkflowContext,
    PayloadTooLargeError,
    WorkflowContext,
    workflow,
)
from django_workflow.models import Run
from tests.cases.bodies import mark
from tests.cases.stage import Stage

#: The play changes code, time or luck in its own process.
IN_ONE_PROCESS = True


@workflow(name="payload_over_the_limit")
def sync(ctx: WorkflowContext[str]) -> int:
    return ctx.run("measure", mark, "measured", len(ctx.request_payload))


@workflow(name="payload_over_the_limit.async")
async def asynchronous(ctx: AsyncWorkflowContext[str]) -> int:
    return await ctx.run("measure", mark, "measured", len(ctx.request_payload))


def play(stage: Stage) -> None:
    with pytest.raises(PayloadTooLargeError) as caught:
        stage.trigger("x" * 50_000_000)

    assert (caught.value.size, caught.value.limit) == (50_000_002, 10_000_000)
    assert not Run.objects.exists()
    stage.ran("measured", 0)
