"""A call is tried again when the answer says so or none comes, and the last answer is the result."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.stage import Stage, outcomes

#: The answers are in this process's box.
IN_ONE_PROCESS = True

URL = "https://partner.example/orders"


@workflow(name="call_retried")
def sync(ctx: WorkflowContext[Any]) -> Any:
    return ctx.call("ask", URL, retries=3, retry_delay="1m").status


@workflow(name="call_retried.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    return (await ctx.using(retries=3).call("ask", URL, retry_delay="1m")).status


def play(stage: Stage) -> None:
    box = stage.box
    box.respond("GET", URL, status=503, headers={"Retry-After": "7"}, attempt=1)
    box.respond("GET", URL, error="connection refused", attempt=2)
    box.respond("GET", URL, status=500)
    run = stage.trigger()
    assert box.waiting_on(run) == ["ask"]
    assert "was answered 503" in run.reason

    box.advance("6s")
    assert run.steps.get().attempts == 1
    box.advance("1s")
    assert run.refresh().steps.get().attempts == 2
    assert "connection refused" in run.reason

    box.advance("1m")
    box.advance("1m")
    assert run.refresh().result == 500
    assert outcomes(run) == {"failed"}
    assert run.attempts.count() == 3
    assert len({call.headers["idempotency-key"] for call in box.calls}) == 1
