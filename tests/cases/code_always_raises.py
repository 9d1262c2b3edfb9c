"""Code between steps that raises again and again fails the run in the end; the handler runs."""

from __future__ import annotations

from typing import Any

from django_workflow import (
    AsyncWorkflowContext,
    Failure,
    WorkflowContext,
    workflow,
)
from tests.cases.bodies import mark
from tests.cases.stage import Stage


@workflow(name="code_always_raises", retries=2, retry_delay="1m")
def sync(ctx: WorkflowContext[Any]) -> None:
    ctx.run("before", mark, "before")
    raise KeyError("nowhere")


@sync.on_failure
def handler(ctx: WorkflowContext[Any], failure: Failure) -> None:
    ctx.run("handle", mark, f"handle {failure.step}")


@workflow(name="code_always_raises.async", retries=2, retry_delay="1m")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> None:
    await ctx.run("before", mark, "before")
    raise KeyError("nowhere")


@asynchronous.on_failure
async def ahandler(ctx: AsyncWorkflowContext[Any], failure: Failure) -> None:
    await ctx.run("handle", mark, f"handle {failure.step}")


def play(stage: Stage) -> None:
    run = stage.trigger()
    stage.box.advance("2m")

    assert (run.refresh().status, run.handler_status) == ("failed", "completed")
    assert run.failure.error_class == "KeyError"
    assert (run.failure.step, run.failure.attempts) == (None, 3)
    assert run.attempts.filter(outcome="failed", step_key="").count() == 3
    stage.ran("before")
    stage.ran("handle None")
