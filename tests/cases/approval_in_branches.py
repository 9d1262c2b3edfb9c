"""Two people are asked side by side while another branch works; a paused run takes the decision, too."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import mark
from tests.cases.stage import Stage


@workflow(name="approval_in_branches")
def sync(ctx: WorkflowContext[Any]) -> Any:
    def ask(who: str) -> bool:
        return ctx.wait_for_approval("sign", assignees=f"{who}@example.org", timeout="1d").approved

    def work() -> Any:
        return ctx.run("work", mark, "work")

    return list(ctx.parallel(lambda: ask("ann"), lambda: ask("ben"), work))


@workflow(name="approval_in_branches.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    async def ask(who: str) -> bool:
        address = f"{who}@example.org"
        return (await ctx.wait_for_approval("sign", assignees=address, timeout="1d")).approved

    async def work() -> Any:
        return await ctx.run("work", mark, "work")

    return list(await ctx.parallel(ask("ann"), ask("ben"), work()))


def play(stage: Stage) -> None:
    run = stage.trigger()
    assert stage.box.waiting_on(run) == ["sign", "sign"]
    run.pause()
    stage.box.approve(run, "sign", by="ann@example.org")
    run.resume()
    assert stage.box.waiting_on(run) == ["sign"]
    stage.box.reject(run, "sign", by="ben@example.org")
    assert run.refresh().result == [True, False, "work"]
    stage.ran("work")
