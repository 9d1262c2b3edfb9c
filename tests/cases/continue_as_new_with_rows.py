"""Steps of all kinds under the same names in each generation: none is answered by what an earlier one has left."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, current_step, workflow
from django_workflow.models import Approval, Webhook
from tests.cases.bodies import mark
from tests.cases.ledger import ledger
from tests.cases.stage import Stage
from tests.transports.wsgi import served_at

#: The answers are in this process's box.
IN_ONE_PROCESS = True

URL = "https://partner.example/tell"
OPS = "ops@example.org"
ITEM = 7


@workflow(name="continue_as_new_with_rows.child")
def child(ctx: WorkflowContext[Any]) -> Any:
    return ctx.run("work", mark, f"child {ctx.request_payload}")


def item(number: int) -> Any:
    step = current_step()
    ledger.write(f"item key {step.idempotency_key}")
    made = child.trigger(f"of item {number}")
    return [number, made.id]


@workflow(name="continue_as_new_with_rows")
def sync(ctx: WorkflowContext[Any]) -> Any:
    number = ctx.request_payload
    if number < 2:
        ctx.create_webhook("hook")
    found = [
        ctx.call("tell", f"{URL}/{number}").body,
        ctx.map("items", item, [number]),
        ctx.invoke("child", child, number),
        ctx.wait_for_approval("ok", assignees=OPS, timeout="2d").comment,
    ]
    ctx.race(lambda: ctx.sleep("short", "1h"), lambda: ctx.sleep("long", "9d"))
    ctx.run("found", ledger.write, repr(found))
    if number < 2:
        ctx.continue_as_new(number + 1)
    return found


@workflow(name="continue_as_new_with_rows.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    number = ctx.request_payload
    if number < 2:
        await ctx.create_webhook("hook")
    answer = await ctx.call("tell", f"{URL}/{number}")
    found = [
        answer.body,
        await ctx.map("items", item, [number]),
        await ctx.invoke("child", child, number),
        (await ctx.wait_for_approval("ok", assignees=OPS, timeout="2d")).comment,
    ]
    await ctx.race(ctx.sleep("short", "1h"), ctx.sleep("long", "9d"))
    await ctx.run("found", ledger.write, repr(found))
    if number < 2:
        await ctx.continue_as_new(number + 1)
    return found


def play(stage: Stage) -> None:
    for number in range(3):
        stage.box.respond("GET", f"{URL}/{number}", json={"answer": number})
    with served_at("http://testserver"):
        run = stage.trigger(0)
        for number in range(3):
            assert stage.box.waiting_on(run) == ["ok"]
            stage.box.approve(run, "ok", by=OPS, comment=f"fine {number}")
            stage.box.advance("1h")

    answer, items, inner, comment = run.refresh().result
    assert (answer, inner, comment) == ({"answer": 2}, "child 2", "fine 2")
    assert items[0][0] == 2
    assert run.generation == 2
    keys = {line for line in ledger.read() if line.startswith("item key ")}
    assert len(keys) == 3
    sent = [call.headers["idempotency-key"] for call in stage.box.calls]
    assert len(set(sent)) == 3
    urls = {hook.event_id for hook in Webhook.objects.filter(run=run)}
    assert len(urls) == 2
    assert Approval.objects.filter(run=run, decision="approved").count() == 3
    assert run.calls.count() == run.map_items.count() == 3
    for number in range(3):
        stage.ran(f"child {number}")
        stage.ran(f"child of item {number}")
    first = run.generations.get(number=0)
    assert first.steps.get(key="child").child.payload == 0
    assert first.steps.get(key="items").progress == (1, 1)
    assert run.steps.get(key="child").child.payload == 2
