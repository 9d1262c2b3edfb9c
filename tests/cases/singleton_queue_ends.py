"""However a run of a queueing singleton ends, the next one begins; while its failure handler works, it does not."""

from __future__ import annotations

from typing import Any

from django_workflow import (
    AsyncWorkflowContext,
    NonRetryableError,
    Singleton,
    WorkflowContext,
    workflow,
)
from django_workflow.models import FlowTicket
from tests.cases.bodies import mark
from tests.cases.stage import Stage

QUEUE = Singleton(on_conflict="queue")


def refuse(payload: Any) -> None:
    raise NonRetryableError(f"no {payload}")


@workflow(name="singleton_queue_ends", retries=0, singleton=QUEUE)
def sync(ctx: WorkflowContext[Any]) -> Any:
    ctx.run("begin", mark, f"begin {ctx.request_payload}")
    if ctx.request_payload == "cancels":
        ctx.cancel()
    if ctx.request_payload == "fails":
        ctx.run("refuse", refuse, ctx.request_payload)
    ctx.sleep("work", "1h")
    return ctx.request_payload


@sync.on_failure
def sync_failed(ctx: WorkflowContext[Any], failure: Any) -> None:
    ctx.sleep("wait", "1h")
    ctx.run("handle", mark, "handled")


@workflow(name="singleton_queue_ends.async", retries=0, singleton=QUEUE)
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    await ctx.run("begin", mark, f"begin {ctx.request_payload}")
    if ctx.request_payload == "cancels":
        await ctx.cancel()
    if ctx.request_payload == "fails":
        await ctx.run("refuse", refuse, ctx.request_payload)
    await ctx.sleep("work", "1h")
    return ctx.request_payload


@asynchronous.on_failure
async def async_failed(ctx: AsyncWorkflowContext[Any], failure: Any) -> None:
    await ctx.sleep("wait", "1h")
    await ctx.run("handle", mark, "handled")


def play(stage: Stage) -> None:
    names = ("works", "cancels", "fails", "is cancelled", "follows")
    works, cancels, fails, is_cancelled, follows = (stage.trigger(name) for name in names)

    stage.box.advance("1h")
    assert works.refresh().result == "works"
    assert cancels.refresh().status == "cancelled"
    assert (fails.refresh().status, fails.handler_status) == ("failed", "running")
    assert is_cancelled.refresh().status == "pending"

    stage.box.advance("1h")
    assert is_cancelled.refresh().status == "running"
    is_cancelled.cancel()
    assert follows.refresh().status == "running"

    stage.box.advance("1h")
    assert follows.refresh().result == "follows"
    assert not FlowTicket.objects.exists()
    stage.ran_in_order(
        "begin works",
        "begin cancels",
        "begin fails",
        "handled",
        "begin is cancelled",
        "begin follows",
    )
