"""A function over many items: results in order, each item executed for itself, also where one is tried again."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, current_step, workflow
from tests.cases.bodies import double, mark
from tests.cases.ledger import ledger
from tests.cases.stage import Stage


def tenfold(number: int) -> int:
    ledger.write(f"tenfold {number}")
    step = current_step()
    assert step.index == number
    if number == 3 and step.attempt == 1:
        raise ConnectionError("Not yet.")
    return number * 10


@workflow(name="map", retry_delay="1h")
def sync(ctx: WorkflowContext[Any]) -> Any:
    offset = ctx.run("offset", double, 1)
    found = ctx.map("tens", tenfold, range(7), max_parallel=3)
    none = ctx.map("none", tenfold, [])
    both, _ = ctx.parallel(
        lambda: [ctx.map("inner", lambda one: one + offset, [1, 2]), ctx.map("empty", tenfold, [])],
        lambda: ctx.sleep("nap", "2h"),
    )
    return [found, none, both, ctx.run("after", mark, "after")]


@workflow(name="map.async", retry_delay="1h")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    async def atenfold(number: int) -> int:
        return tenfold(number)

    async def inner() -> Any:
        found = await ctx.map("inner", lambda one: one + offset, [1, 2])
        return [found, await ctx.map("empty", tenfold, [])]

    offset = await ctx.run("offset", double, 1)
    found = await ctx.map("tens", atenfold, range(7), max_parallel=3)
    none = await ctx.map("none", tenfold, [])
    both, _ = await ctx.parallel(inner(), ctx.sleep("nap", "2h"))
    return [found, none, both, await ctx.run("after", mark, "after")]


def play(stage: Stage) -> None:
    run = stage.trigger()
    assert run.reason == '"tens" is executing: 6 of 7 items done'
    [step] = run.waiting_for
    assert step.progress == (6, 7)

    stage.box.advance("3h")
    assert run.refresh().result == [[0, 10, 20, 30, 40, 50, 60], [], [[3, 4], []], "after"]
    for number in (0, 1, 2, 4, 5, 6):
        stage.ran(f"tenfold {number}")
    stage.ran("tenfold 3", times=2)
