"""A race leaves nothing open of its losers: no call is made, no mail sent, no item executed, no child goes on."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from django_workflow.models import Delivery, FlowTicket, Run, Waiter
from tests.cases.bodies import mark
from tests.cases.ledger import ledger
from tests.cases.stage import Stage

IN_ONE_PROCESS = True

URL = "https://partner.example/slow"


@workflow(name="race_of_all_kinds.grandchild")
def grandchild(ctx: WorkflowContext[Any]) -> Any:
    ctx.sleep("rest", "1d")
    ctx.run("work", mark, "grandchild")


@workflow(name="race_of_all_kinds.child")
def child(ctx: WorkflowContext[Any]) -> Any:
    if ctx.request_payload == "deep":
        ctx.invoke("inner", grandchild)
    ctx.sleep("rest", "1d")
    return ctx.run("work", mark, f"child {ctx.request_payload}")


def later(number: int) -> int:
    ledger.write("item")
    raise ConnectionError("Not yet.")


@workflow(name="race_of_all_kinds", retry_delay="1d")
def sync(ctx: WorkflowContext[Any]) -> Any:
    retried = ctx.using(retries=1, retry_delay="1d")
    index, _ = ctx.race(
        lambda: retried.call("call", URL),
        lambda: ctx.wait_for_approval("ok", assignees="a@example.org", timeout="9d"),
        lambda: ctx.map("items", later, [1, 2]),
        lambda: ctx.invoke("plain", child, "plain"),
        lambda: ctx.invoke("deep", child, "deep"),
        lambda: ctx.invoke("own", child, "own", cascade=False),
        lambda: ctx.sleep("patience", "1h"),
    )
    ctx.sleep("rest", "30d")
    return [index, ctx.run("after", mark, "after")]


@workflow(name="race_of_all_kinds.async", retry_delay="1d")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    retried = ctx.using(retries=1, retry_delay="1d")
    index, _ = await ctx.race(
        lambda: retried.call("call", URL),
        lambda: ctx.wait_for_approval("ok", assignees="a@example.org", timeout="9d"),
        lambda: ctx.map("items", later, [1, 2]),
        lambda: ctx.invoke("plain", child, "plain"),
        lambda: ctx.invoke("deep", child, "deep"),
        lambda: ctx.invoke("own", child, "own", cascade=False),
        lambda: ctx.sleep("patience", "1h"),
    )
    await ctx.sleep("rest", "30d")
    return [index, await ctx.run("after", mark, "after")]


def play(stage: Stage) -> None:
    stage.box.respond("GET", URL, status=503)
    run = stage.trigger()
    assert run.refresh().status == "running"
    stage.box.advance("2h")

    assert stage.box.waiting_on(run) == ["rest"]
    assert not run.calls.exists()
    assert not Waiter.objects.filter(run=run).exists()
    assert [d.step_key for d in Delivery.objects.filter(run=run)] == [""]
    assert run.approvals.get().next_mail_at is None
    assert not type(run.approvals.get()).objects.open().exists()
    assert not FlowTicket.objects.exists()
    states = dict(run.children.values_list("parent_step", "status"))
    assert states == {"r1.3/plain": "cancelled", "r1.4/deep": "cancelled", "r1.5/own": "running"}
    assert Run.objects.get(workflow="race_of_all_kinds.grandchild").status == "cancelled"
    assert not run.steps.filter(status="abandoned", delivered=True, kind="invoke").exists()

    stage.box.advance(timedelta(days=31))
    assert run.refresh().result == [6, "after"]
    stage.ran("child own")
    stage.ran("child plain", times=0)
    stage.ran("grandchild", times=0)
    assert len(stage.box.calls) <= 1 + stage.box.crashes
    assert not Run.objects.stuck().exists()
