"""Workflows that the API's tests trigger."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from django_workflow import FlowControl, WorkflowContext, workflow


def boom() -> None:
    raise ValueError("the secret of the error")


@workflow(name="rest.plain", redact=["card.number"])
def plain(ctx: WorkflowContext[Any]) -> Any:
    """Return what it was given."""
    ctx.run("look", lambda: {"seen": 1})
    return ctx.request_payload


@workflow(name="rest.waits")
def waits(ctx: WorkflowContext[Any]) -> Any:
    return ctx.wait_for_event("word", f"word:{ctx.workflow_run_id}", timeout="1d").event_data


@workflow(name="rest.fails", retries=0)
def fails(ctx: WorkflowContext[Any]) -> None:
    ctx.run("boom", boom)


@workflow(name="rest.limited", flow_control=FlowControl(key="rest/limited", parallelism=1))
def limited(ctx: WorkflowContext[Any]) -> None:
    ctx.run("one", lambda: None)


@workflow(name="rest.asks")
def asks(ctx: WorkflowContext[Any]) -> Any:
    return ctx.wait_for_approval("sign", assignees=["user:ann"], title="Sign it").decision


def knows_the_word(request: HttpRequest) -> bool:
    return request.headers.get("X-Word") == "sesame"


@workflow(name="rest.guarded", trigger_permission=knows_the_word)
def guarded(ctx: WorkflowContext[Any]) -> None:
    return None
