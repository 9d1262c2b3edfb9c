"""A map stops between two items when its run is paused, goes on when it is resumed, and loses a race like any step."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, get_run, workflow
from django_workflow.core.context import current_step
from tests.cases.ledger import ledger
from tests.cases.stage import Stage

IN_ONE_PROCESS = True

paused: list[int] = []


def pausing(number: int) -> int:
    ledger.write(f"item {number}")
    if number == 2 and not paused:
        paused.append(number)
        get_run(current_step().workflow_run_id).pause()
    return number


def refusing(number: int) -> int:
    if number == 1:
        raise ConnectionError("Never.")
    return number


@workflow(name="map_pause", retries=3, retry_delay="2h")
def sync(ctx: WorkflowContext[Any]) -> Any:
    found = ctx.map("items", pausing, range(5), max_parallel=1)
    first = ctx.race(lambda: ctx.map("slow", refusing, range(3)), lambda: ctx.sleep("nap", "1h"))
    return [found, first.index]


@workflow(name="map_pause.async", retries=3, retry_delay="2h")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    found = await ctx.map("items", pausing, range(5), max_parallel=1)
    first = await ctx.race(ctx.map("slow", refusing, range(3)), ctx.sleep("nap", "1h"))
    return [found, first.index]


def play(stage: Stage) -> None:
    paused.clear()
    run = stage.trigger()
    if run.status == "paused":
        stage.box.advance("1d")
        assert run.refresh().status == "paused"
        run.resume()
    stage.box.advance("2h")

    assert run.refresh().result == [[0, 1, 2, 3, 4], 1]
    assert dict(run.steps.values_list("name", "status"))["slow"] == "abandoned"
    stage.ran("item 0")
    stage.ran("item 4")
