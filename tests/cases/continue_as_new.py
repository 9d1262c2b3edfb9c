"""A run goes on under its id with a new payload and an empty journal; what it leaves is kept."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, current_step, notify, workflow
from tests.cases.ledger import ledger
from tests.cases.stage import Stage

#: The play changes code, time or luck in its own process.
IN_ONE_PROCESS = True


def count(number: int) -> int:
    ledger.write(f"count {number}")
    ledger.write(f"key {current_step().idempotency_key}")
    return number + 1


@workflow(name="continue_as_new")
def sync(ctx: WorkflowContext[Any]) -> Any:
    number = ctx.request_payload["number"]
    tag = str(ctx.uuid())
    ctx.log(f"generation {ctx.generation}")
    number = ctx.run("count", count, number)
    ctx.parallel(lambda: ctx.run("side", str, 1), lambda: ctx.sleep("rest", "1h"))
    if number < 3:
        ctx.continue_as_new({"number": number, "tags": [*ctx.request_payload.get("tags", []), tag]})
    letter = ctx.wait_for_event("letter", f"letter:{ctx.workflow_run_id}").event_data
    return [number, letter, len({*ctx.request_payload["tags"], tag})]


@workflow(name="continue_as_new.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    number = ctx.request_payload["number"]
    tag = str(await ctx.uuid())
    ctx.log(f"generation {ctx.generation}")
    number = await ctx.run("count", count, number)
    await ctx.parallel(ctx.run("side", str, 1), ctx.sleep("rest", "1h"))
    if number < 3:
        await ctx.continue_as_new(
            {"number": number, "tags": [*ctx.request_payload.get("tags", []), tag]}
        )
    letter = (await ctx.wait_for_event("letter", f"letter:{ctx.workflow_run_id}")).event_data
    return [number, letter, len({*ctx.request_payload["tags"], tag})]


def play(stage: Stage) -> None:
    run = stage.trigger({"number": 0}, label="vip")
    notify(f"letter:{run.id}", "hello", workflow_run_id=run.id)
    created = run.created_at
    assert stage.box.waiting_on(run) == ["rest"]
    stage.box.advance("1h")
    assert (run.refresh().generation, run.payload["number"]) == (1, 1)
    assert stage.box.steps(run)[0] == "count"
    stage.box.advance("2h")

    assert run.refresh().result == [3, "hello", 3]
    assert (run.labels, run.created_at, run.generation) == (["vip"], created, 2)
    stage.ran("count 0")
    stage.ran("count 1")
    stage.ran("count 2")
    assert len({line for line in ledger.read() if line.startswith("key ")}) == 3
    assert [(g.number, g.payload["number"]) for g in run.generations.all()] == [(0, 0), (1, 1)]
    first = run.generations.get(number=0)
    assert [step.name for step in first.steps.order_by("sequence")] == ["count", "side", "rest"]
    assert first.steps.get(key="count").result == 1
    assert [line.message for line in run.logs.all()] == [
        "generation 0",
        "generation 1",
        "generation 2",
    ]
