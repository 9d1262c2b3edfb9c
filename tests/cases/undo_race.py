"""What the losers of a race have done is taken back when the run fails, like all else; the open step of a loser is told as unknown."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import broken, mark, take_back
from tests.cases.stage import Stage


@workflow(name="undo_race", retries=0)
def sync(ctx: WorkflowContext[Any]) -> None:
    undoing = ctx.using(undo=take_back)

    def fast() -> None:
        undoing.run("book", mark, "fast")

    def slow() -> None:
        undoing.run("book", mark, "slow")
        ctx.sleep("rest", "1d")
        undoing.run("more", mark, "more")

    ctx.race(lambda: (ctx.sleep("a moment", "1h"), fast()), slow)
    ctx.run("bad", broken, "bad")


@workflow(name="undo_race.async", retries=0)
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> None:
    undoing = ctx.using(undo=take_back)

    async def fast() -> None:
        await ctx.sleep("a moment", "1h")
        await undoing.run("book", mark, "fast")

    async def slow() -> None:
        await undoing.run("book", mark, "slow")
        await ctx.sleep("rest", "1d")
        await undoing.run("more", mark, "more")

    await ctx.race(fast(), slow)
    await ctx.run("bad", broken, "bad")


def play(stage: Stage) -> None:
    run = stage.trigger()
    stage.box.advance("1h")
    stage.box.advance("1d")

    assert (run.refresh().status, run.undo_status) == ("failed", "completed")
    stage.ran_in_order(
        "slow",
        "fast",
        "bad",
        "undo book: done fast ['fast']",
        "undo book: done slow ['slow']",
    )
