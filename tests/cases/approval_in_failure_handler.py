"""The failure handler asks a person, and waits for a call of its own webhook's URL."""

from __future__ import annotations

from typing import Any

from django.test import Client

from django_workflow import AsyncWorkflowContext, Failure, WorkflowContext, workflow
from tests.cases.bodies import mark
from tests.cases.outside import reachable
from tests.cases.stage import Stage

IN_ONE_PROCESS = True


@workflow(name="approval_in_failure_handler", retries=0)
def sync(ctx: WorkflowContext[Any]) -> Any:
    raise ValueError("no")


@sync.on_failure
def refund(ctx: WorkflowContext[Any], failure: Failure) -> None:
    hook = ctx.create_webhook("hook")
    call = ctx.wait_for_webhook("call", hook, timeout="1d")
    assert call.request is not None
    asked = ctx.wait_for_approval("refund?", assignees=call.request.body, timeout="1d")
    ctx.run("refund", mark, asked.decided_by)


@workflow(name="approval_in_failure_handler.async", retries=0)
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    raise ValueError("no")


@asynchronous.on_failure
async def refund_async(ctx: AsyncWorkflowContext[Any], failure: Failure) -> None:
    hook = await ctx.create_webhook("hook")
    call = await ctx.wait_for_webhook("call", hook, timeout="1d")
    assert call.request is not None
    asked = await ctx.wait_for_approval("refund?", assignees=call.request.body, timeout="1d")
    await ctx.run("refund", mark, asked.decided_by)


def play(stage: Stage) -> None:
    with reachable():
        run = stage.trigger()
        assert stage.box.waiting_on(run) == ["call"]
        path = run.steps.get(name="hook").result["webhook_url"].removeprefix("http://testserver")
        Client().post(path, "ann@example.org", content_type="text/plain")
        assert stage.box.waiting_on(run) == ["refund?"]
        stage.box.approve(run, "refund?", by="ann@example.org")
        assert run.refresh().handler_status == "completed"
        stage.ran("ann@example.org")
