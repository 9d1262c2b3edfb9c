"""Children side by side: each branch goes on when its own has ended."""

from __future__ import annotations

import asyncio
from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import mark
from tests.cases.stage import Stage


@workflow(name="invoke_in_branches.child")
def child(ctx: WorkflowContext[Any]) -> int:
    ctx.sleep("rest", f"{ctx.request_payload}h")
    return int(ctx.request_payload)


@workflow(name="invoke_in_branches")
def sync(ctx: WorkflowContext[Any]) -> Any:
    def branch(hours: int) -> Any:
        got = ctx.invoke("child", child, hours)
        return ctx.run("after", mark, f"after {got}")

    return list(ctx.parallel(lambda: branch(2), lambda: branch(1), lambda: branch(3)))


@workflow(name="invoke_in_branches.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    async def branch(hours: int) -> Any:
        got = await ctx.invoke("child", child, hours)
        return await ctx.run("after", mark, f"after {got}")

    return list(await asyncio.gather(branch(2), branch(1), branch(3)))


def play(stage: Stage) -> None:
    run = stage.trigger()
    assert stage.box.waiting_on(run) == ["child", "child", "child"]
    assert run.children.count() == 3

    stage.box.advance("2h")
    assert stage.box.waiting_on(run) == ["child"]
    stage.box.advance("1h")
    assert run.refresh().result == ["after 2", "after 1", "after 3"]
    stage.ran_in_order("after 1", "after 2", "after 3")
