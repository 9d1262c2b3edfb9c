"""What type checkers accept, and the types that they find."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TypedDict, assert_type

from django_workflow import (
    AsyncWorkflowContext,
    CallResult,
    EventResult,
    Failure,
    FlowControl,
    RetryPolicy,
    Workflow,
    WorkflowContext,
    workflow,
)
from django_workflow.testing import Replayed, WorkflowSandbox, crash_everywhere, replay


class Order(TypedDict):
    order_id: int


def charge(order_id: int, *, currency: str = "EUR") -> str:
    return f"ch_{order_id}_{currency}"


def weigh(order_id: int) -> float:
    return order_id * 1.5


async def label(order_id: int) -> bytes:
    return bytes(order_id)


@workflow
def fulfil(ctx: WorkflowContext[Order]) -> str:
    order_id = assert_type(ctx.request_payload["order_id"], int)
    receipt = assert_type(ctx.run("charge", charge, order_id, currency="USD"), str)
    assert_type(ctx.atomic("weigh", weigh, order_id), float)
    assert_type(ctx.run("label", label, order_id), bytes)
    two = ctx.parallel(
        lambda: ctx.run("a", charge, order_id),
        lambda: ctx.run("b", weigh, order_id),
    )
    assert_type(two, tuple[str, float])
    three = ctx.parallel(
        lambda: ctx.run("c", charge, order_id),
        lambda: ctx.run("d", weigh, order_id),
        lambda: ctx.run("e", label, order_id),
    )
    assert_type(three, tuple[str, float, bytes])
    four = ctx.parallel(
        lambda: ctx.run("f", charge, order_id),
        lambda: ctx.run("g", weigh, order_id),
        lambda: ctx.run("h", label, order_id),
        lambda: order_id,
    )
    assert_type(four, tuple[str, float, bytes, int])
    assert_type(ctx.map("weigh all", weigh, [1, 2]), list[float])
    assert_type(ctx.map("label all", label, [1, 2]), list[bytes])
    ctx.sleep("rest", timedelta(days=3))
    ctx.using(retries=0, timeout="5s").run("again", charge, order_id)
    assert_type(ctx.wait_for_event("pickup", "pickup:1", timeout="2d"), EventResult)
    assert_type(ctx.call("tell", "https://example.org", json={"a": 1}), CallResult)
    return receipt


@workflow(
    name="reports.nightly",
    retries=RetryPolicy(max_retries=5),
    flow_control=FlowControl("reports", parallelism=2),
)
async def nightly(ctx: AsyncWorkflowContext[Order]) -> float:
    order_id = ctx.request_payload["order_id"]
    receipt = assert_type(await ctx.run("charge", charge, order_id), str)
    made = assert_type(await ctx.run("label", label, order_id), bytes)
    two = await ctx.parallel(ctx.run("a", charge, order_id), ctx.run("b", weigh, order_id))
    assert_type(two, tuple[str, float])
    pair = await asyncio.gather(ctx.run("c", weigh, order_id), ctx.run("d", label, order_id))
    assert_type(pair, tuple[float, bytes])
    assert_type(await ctx.map("weigh all", weigh, [1, 2]), list[float])
    return float(len(receipt) + len(made))


@fulfil.on_failure
def refund(ctx: WorkflowContext[Order], failure: Failure) -> None:
    ctx.run("refund", charge, ctx.request_payload["order_id"], currency=failure.message)


assert_type(fulfil, Workflow[Order, str])
assert_type(nightly, Workflow[Order, float])
fulfil.trigger({"order_id": 42}, workflow_run_id="order-42", label="vip", delay="10s")
fulfil.trigger_many([{"order_id": 1}, {"order_id": 2}])


async def start() -> None:
    await nightly.atrigger({"order_id": 42})


def play(box: WorkflowSandbox) -> None:
    fulfil.trigger({"order_id": 42})
    box.advance("2d")


crash_everywhere(play, state=lambda: [1])
assert_type(replay(fulfil, "journal.json"), Replayed)
