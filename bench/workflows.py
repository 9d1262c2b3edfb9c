"""The workflows that are measured: trivial bodies that return a small dict."""

from __future__ import annotations

from functools import partial
from typing import Any

from django_workflow import WorkflowContext, workflow


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
