"""The workflows that are measured: trivial bodies that return a small dict."""

from __future__ import annotations

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


inline_steps = workflow(name="inline_steps", transport="inline")(steps)
http_steps = workflow(name="http_steps", transport="http")(steps)


@workflow(name="slow_call", transport="inline")
def slow_call(ctx: WorkflowContext[Any]) -> int:
    """Call a server that takes its time."""
    return ctx.call("slow", ctx.request_payload["url"]).status
