"""Calls side by side, beside a body and a sleep: each goes on when its own answer is there."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import mark
from tests.cases.stage import Stage

#: The answers are in this process's box.
IN_ONE_PROCESS = True

URL = "https://partner.example"


@workflow(name="call_in_branches")
def sync(ctx: WorkflowContext[Any]) -> Any:
    def branch(place: str) -> Any:
        body = ctx.call("ask", f"{URL}/{place}").body
        return ctx.run("after", mark, f"after {place}", body)

    def sleeper() -> Any:
        ctx.sleep("nap", "1m")
        return ctx.run("body", mark, "body")

    return list(ctx.parallel(lambda: branch("left"), lambda: branch("right"), sleeper))


@workflow(name="call_in_branches.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    async def branch(place: str) -> Any:
        body = (await ctx.call("ask", f"{URL}/{place}")).body
        return await ctx.run("after", mark, f"after {place}", body)

    async def sleeper() -> Any:
        await ctx.sleep("nap", "1m")
        return await ctx.run("body", mark, "body")

    return list(await ctx.parallel(branch("left"), branch("right"), sleeper()))


def play(stage: Stage) -> None:
    stage.box.respond("GET", f"{URL}/left", json="L")
    stage.box.respond("GET", f"{URL}/right", json=["R"])

    run = stage.trigger()

    assert stage.box.waiting_on(run) == ["nap"]
    stage.box.advance("1m")
    assert run.refresh().result == ["L", ["R"], "body"]
    stage.ran("after left")
    stage.ran("after right")
