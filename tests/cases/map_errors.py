"""An item that gives up fails its map when all have ended; a resume tries those alone that had failed."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, StepError, WorkflowContext, workflow
from tests.cases.ledger import ledger
from tests.cases.stage import Stage

mended: list[int] = []


def picky(number: int) -> int:
    ledger.write(f"picky {number}")
    if number % 2 and number not in mended:
        raise ValueError(f"{number} is odd")
    return number


@workflow(name="map_errors", retries=0)
def sync(ctx: WorkflowContext[Any]) -> Any:
    found = ctx.map("kept", picky, range(10, 14), return_errors=True)
    try:
        ctx.map("raised", picky, range(20, 24))
    except StepError as error:
        told = [error.index, error.others[0].index, str(error.others[0])]
    return [[str(one) for one in found], told, ctx.map("uncaught", picky, range(30, 34))]


@workflow(name="map_errors.async", retries=0)
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    found = await ctx.map("kept", picky, range(10, 14), return_errors=True)
    try:
        await ctx.map("raised", picky, range(20, 24))
    except StepError as error:
        told = [error.index, error.others[0].index, str(error.others[0])]
    return [[str(one) for one in found], told, await ctx.map("uncaught", picky, range(30, 34))]


def play(stage: Stage) -> None:
    mended.clear()
    run = stage.trigger()
    assert run.status == "failed"
    assert run.failure is not None
    assert (run.failure.step, run.failure.message) == ("uncaught", "31 is odd")

    mended.extend([31, 33])
    run.resume()
    kept, told, found = run.refresh().result
    assert kept == [
        "10",
        'Item 1 of map "kept" gave up after 1 attempt: ValueError: 11 is odd',
        "12",
        'Item 3 of map "kept" gave up after 1 attempt: ValueError: 13 is odd',
    ]
    assert told == [1, 3, 'Item 3 of map "raised" gave up after 1 attempt: ValueError: 23 is odd']
    assert found == [30, 31, 32, 33]
    stage.ran("picky 30")
    stage.ran("picky 31", times=2)
