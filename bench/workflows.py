"""The workflows that are measured: trivial bodies that return a small dict."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

from django_workflow import FlowControl, WorkflowContext, workflow


def trivial(number: int) -> dict[str, int]:
    """Do next to nothing."""
    return {"number": number}


def steps(ctx: WorkflowContext[Any]) -> int:
    """Run as many steps as the payload says, one after the other."""
    last = 0
    for number in range(ctx.request_payload["steps"]):
        last = ctx.run(f"step {number}", trivial, number)["number"]
    return last


def side_by_side(ctx: WorkflowContext[Any]) -> int:
    """Run as many steps as the payload says, side by side, and join them."""
    count = ctx.request_payload["steps"]
    branches = [partial(ctx.run, f"step {number}", trivial, number) for number in range(count)]
    return len(ctx.parallel(*branches))


def items(ctx: WorkflowContext[Any]) -> int:
    """Call a trivial function with as many items as the payload says."""
    return len(ctx.map("items", trivial, range(ctx.request_payload["steps"])))


parallel_steps = workflow(name="parallel_steps", transport="inline")(side_by_side)
mapped_items = workflow(name="mapped_items", transport="inline")(items)
http_items = workflow(name="http_items", transport="http")(items)
inline_steps = workflow(name="inline_steps", transport="inline")(steps)
http_steps = workflow(name="http_steps", transport="http")(steps)


@workflow(name="slow_call", transport="inline")
def slow_call(ctx: WorkflowContext[Any]) -> int:
    """Call a server that takes its time."""
    return ctx.call("slow", ctx.request_payload["url"]).status


@workflow(name="sleeper", transport="inline")
def sleeper(ctx: WorkflowContext[Any]) -> None:
    """Sleep until the moment that the payload names."""
    ctx.sleep_until("due", ctx.request_payload["due"])


@workflow(name="waiter", transport="inline")
def waiter(ctx: WorkflowContext[Any]) -> None:
    """Wait for the event that the payload names."""
    ctx.wait_for_event("event", ctx.request_payload["event"])


def pass_alone(door: str) -> bool:
    """Tell whether nobody else was in here: the file is there for as long as somebody is."""
    try:
        os.close(os.open(door, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    os.unlink(door)
    return True


@workflow(
    name="one_at_a_time", transport="inline", flow_control=FlowControl("bench", parallelism=1)
)
def one_at_a_time(ctx: WorkflowContext[Any]) -> bool:
    """Pass a door that lets one in at a time."""
    return ctx.run("pass", pass_alone, ctx.request_payload["door"])
