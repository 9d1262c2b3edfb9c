"""Workflows that the API's tests trigger."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from rest_framework import serializers

from django_workflow import FlowControl, WorkflowContext, workflow
from tests.app.forms import BudgetForm


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


class OrderSerializer(serializers.Serializer[Any]):
    amount = serializers.IntegerField(min_value=1)
    rush = serializers.BooleanField(default=False)


@workflow(name="rest.order")
def asks_for_an_order(ctx: WorkflowContext[Any]) -> Any:
    found = ctx.wait_for_event("order", "order", timeout="1d", schema=OrderSerializer)
    return dict(found.event_data)


broken: set[str] = set()


def break_once(run_id: str) -> str:
    if run_id not in broken:
        broken.add(run_id)
        raise KeyError(run_id)
    return run_id


@workflow(name="rest.fails_once", retries=0)
def fails_once(ctx: WorkflowContext[Any]) -> str:
    return ctx.run("once", break_once, ctx.workflow_run_id)


@workflow(name="rest.hook")
def hook(ctx: WorkflowContext[Any]) -> Any:
    made = ctx.create_webhook("pay")
    return ctx.wait_for_webhook("paid", made, timeout="1d").timed_out


@workflow(name="rest.budget")
def asks_for_a_budget(ctx: WorkflowContext[Any]) -> Any:
    found = ctx.wait_for_approval(
        "budget", permission="django_workflow.decide_approval", form=BudgetForm
    )
    return str(found.data["amount"])


@workflow(name="rest.talks")
def talks(ctx: WorkflowContext[Any]) -> None:
    ctx.log("half way", n=5)
    ctx.set_progress(done=5, total=10, message="half way")
    ctx.set_state({"at": "the gate"})
