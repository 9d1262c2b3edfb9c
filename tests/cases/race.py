"""The branch that ends first wins; the loser's sleep wakes nobody any more, and the run goes on."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, notify, workflow
from django_workflow.models import Waiter
from tests.cases.bodies import mark
from tests.cases.stage import Stage


@workflow(name="race")
def sync(ctx: WorkflowContext[Any]) -> Any:
    def answered() -> str:
        ctx.wait_for_event("answer", "answer", timeout="7d")
        return ctx.run("thank", mark, "thanked")

    def reminded() -> str:
        ctx.sleep("patience", "1d")
        return ctx.run("remind", mark, "reminded")

    index, result = ctx.race(answered, reminded)
    ctx.sleep("rest", "3d")
    return [index, result, ctx.run("after", mark, "after")]


@workflow(name="race.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    async def answered() -> str:
        await ctx.wait_for_event("answer", "answer", timeout="7d")
        return await ctx.run("thank", mark, "thanked")

    async def reminded() -> str:
        await ctx.sleep("patience", "1d")
        return await ctx.run("remind", mark, "reminded")

    index, result = await ctx.race(answered(), reminded)
    await ctx.sleep("rest", "3d")
    return [index, result, await ctx.run("after", mark, "after")]


def play(stage: Stage) -> None:
    slow, quick = stage.trigger(), stage.trigger()
    stage.box.advance("2h")
    notify("answer", workflow_run_id=quick.id)
    assert stage.box.waiting_on(quick) == ["rest"]
    assert stage.box.waiting_on(slow) == ["answer", "patience"]

    stage.box.advance("1d")
    assert stage.box.waiting_on(slow) == ["rest"]
    assert not Waiter.objects.exists()
    stage.box.advance("3d")
    assert quick.refresh().result == [0, "thanked", "after"]
    assert slow.refresh().result == [1, "reminded", "after"]
    statuses = dict(slow.steps.values_list("key", "status"))
    assert statuses["r1.0/answer"] == "abandoned"
    assert dict(quick.steps.values_list("key", "status"))["r1.1/patience"] == "abandoned"
    stage.ran("thanked")
    stage.ran("reminded")
