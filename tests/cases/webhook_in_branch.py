"""A branch makes a webhook and waits for its call while another one sleeps."""

from __future__ import annotations

from typing import Any

from django.test import Client

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import mark
from tests.cases.outside import reachable
from tests.cases.stage import Stage

IN_ONE_PROCESS = True


@workflow(name="webhook_in_branch")
def sync(ctx: WorkflowContext[Any]) -> Any:
    def hears() -> Any:
        hook = ctx.create_webhook("hook", single_use=True)
        return ctx.wait_for_webhook("call", hook, timeout="1d").request.body  # type: ignore[union-attr]

    def sleeps() -> Any:
        ctx.sleep("rest", "1h")
        return ctx.run("after", mark, "after")

    return list(ctx.parallel(hears, sleeps))


@workflow(name="webhook_in_branch.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    async def hears() -> Any:
        hook = await ctx.create_webhook("hook", single_use=True)
        return (await ctx.wait_for_webhook("call", hook, timeout="1d")).request.body  # type: ignore[union-attr]

    async def sleeps() -> Any:
        await ctx.sleep("rest", "1h")
        return await ctx.run("after", mark, "after")

    return list(await ctx.parallel(hears(), sleeps()))


def play(stage: Stage) -> None:
    with reachable():
        run = stage.trigger()
        assert stage.box.waiting_on(run) == ["rest", "call"]
        path = run.steps.get(name="hook").result["webhook_url"].removeprefix("http://testserver")

        assert Client().post(path, "7", content_type="application/json").status_code == 200
        assert Client().post(path, "8", content_type="application/json").status_code == 410
        stage.box.advance("1h")
        assert run.refresh().result == [7, "after"]
        stage.ran("after")
