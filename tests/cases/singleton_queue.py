"""Runs of a queueing singleton begin one after the other, in the order of their triggers; each key has a line of its own."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, Singleton, WorkflowContext, workflow
from django_workflow.models import FlowTicket, Run
from tests.cases.bodies import mark
from tests.cases.stage import Stage

QUEUE = Singleton(lambda payload: payload[0], on_conflict="queue")


@workflow(name="singleton_queue", singleton=QUEUE)
def sync(ctx: WorkflowContext[Any]) -> Any:
    ctx.run("begin", mark, f"begin {ctx.request_payload}")
    ctx.sleep("work", "1h")
    return ctx.run("end", mark, f"end {ctx.request_payload}")


@workflow(name="singleton_queue.async", singleton=QUEUE)
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    await ctx.run("begin", mark, f"begin {ctx.request_payload}")
    await ctx.sleep("work", "1h")
    return await ctx.run("end", mark, f"end {ctx.request_payload}")


def play(stage: Stage) -> None:
    first, second, third, fourth = (stage.trigger(f"a{number}") for number in (1, 2, 3, 4))
    other = stage.trigger("b1")
    assert [run.refresh().status for run in (first, second, other)] == [
        "running", "pending", "running",
    ]  # fmt: skip
    assert third.refresh().reason == f'behind run {first.id} of singleton key "a" (place 2 of 3)'
    second.pause()
    third.cancel()
    assert not Run.objects.stuck().exists()

    stage.box.advance("1h")
    assert fourth.refresh().status == "running"
    second.resume()
    assert second.refresh().status == "pending"
    assert second.reason == f'behind run {fourth.id} of singleton key "a" (place 1 of 1)'

    stage.box.advance("2h")
    assert [run.refresh().status for run in (first, second, third, fourth, other)] == [
        "completed", "completed", "cancelled", "completed", "completed",
    ]  # fmt: skip
    assert not FlowTicket.objects.exists()
    stage.ran("begin a3", 0)
    stage.ran_in_order(
        "begin a1", "begin b1", "end a1", "begin a4", "end b1", "end a4", "begin a2", "end a2"
    )
