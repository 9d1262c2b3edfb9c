"""With losers="leave" a body that is under way ends and is recorded; nothing further of its branch is begun."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, notify, workflow
from tests.cases.bodies import flaky, mark
from tests.cases.stage import Stage


@workflow(name="race_leave", retries=3, retry_delay="1h")
def sync(ctx: WorkflowContext[Any]) -> Any:
    def works() -> str:
        ctx.run("work", flaky, "work", 1)
        return ctx.run("more", mark, "more")

    found = ctx.race(
        lambda: ctx.wait_for_event("stop", "stop").event_data,
        works,
        lambda: ctx.sleep("long", "2h"),
        losers=ctx.request_payload,
    )
    ctx.sleep("rest", "1d")
    return list(found)


@workflow(name="race_leave.async", retries=3, retry_delay="1h")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    async def waits() -> Any:
        return (await ctx.wait_for_event("stop", "stop")).event_data

    async def works() -> str:
        await ctx.run("work", flaky, "work", 1)
        return await ctx.run("more", mark, "more")

    found = await ctx.race(waits(), works, ctx.sleep("long", "2h"), losers=ctx.request_payload)
    await ctx.sleep("rest", "1d")
    return list(found)


def play(stage: Stage) -> None:
    run = stage.trigger("leave")
    gone = stage.trigger("cancel")
    notify("stop", 1)
    assert stage.box.waiting_on(run) == ["work", "rest"]
    assert stage.box.waiting_on(gone) == ["rest"]

    stage.box.advance("2h")
    assert stage.box.waiting_on(run) == ["rest"]
    stage.box.advance("1d")
    assert run.refresh().result == gone.refresh().result == [0, 1]
    statuses = dict(run.steps.values_list("name", "status"))
    assert statuses == {
        "stop": "completed", "race": "completed", "work": "completed", "rest": "completed", "long": "abandoned",
    }  # fmt: skip
    assert dict(gone.steps.values_list("name", "status"))["work"] == "abandoned"
    stage.ran("work", times=3)
    stage.ran("more", times=0)
