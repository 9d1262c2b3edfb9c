"""Calls are kept for the waits that ask for them, one for each and in order; a wait without a call times out."""

from __future__ import annotations

from typing import Any

from django.test import Client

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import mark
from tests.cases.outside import reachable
from tests.cases.stage import Stage

IN_ONE_PROCESS = True


@workflow(name="webhook")
def sync(ctx: WorkflowContext[Any]) -> Any:
    hook = ctx.create_webhook("hook")
    ctx.run("tell", mark, "told")
    ctx.sleep("rest", "1h")
    found = [ctx.wait_for_webhook("call", hook, timeout="1d") for _ in range(4)]
    last = found[2].request
    assert last is not None
    return [
        [one.request.body if one.request else None for one in found],
        [found[3].timed_out, found[3].timeout],
        [last.method, last.url, last.headers["x-how"], dict(last.query), last.content_type],
    ]


@workflow(name="webhook.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    hook = await ctx.create_webhook("hook")
    await ctx.run("tell", mark, "told")
    await ctx.sleep("rest", "1h")
    found = [await ctx.wait_for_webhook("call", hook, timeout="1d") for _ in range(4)]
    last = found[2].request
    assert last is not None
    return [
        [one.request.body if one.request else None for one in found],
        [found[3].timed_out, found[3].timeout],
        [last.method, last.url, last.headers["x-how"], dict(last.query), last.content_type],
    ]


def play(stage: Stage) -> None:
    with reachable():
        run = stage.trigger()
        assert run.waiting_for[0].name == "rest"
        url = run.steps.get(name="hook").result["webhook_url"]
        path = url.removeprefix("http://testserver")

        assert call(path, {"n": 1}) == {"received": True}
        call(path, {"n": 2})
        stage.box.advance("1h")
        assert stage.box.waiting_on(run) == ["call"]
        assert run.refresh().reason.startswith('"call" is waiting for a call of its webhook until')

        answer = Client().put(
            f"{path}?a=1&a=2", "text", content_type="text/plain", headers={"X-How": "put"}
        )
        assert answer.status_code == 200
        stage.box.advance("1d")
        assert run.refresh().result == [
            [{"n": 1}, {"n": 2}, "text", None],
            [True, True],
            ["PUT", f"{url}?a=1&a=2", "put", {"a": ["1", "2"]}, "text/plain"],
        ]
        stage.ran("told")
        assert Client().post(path).status_code == 410


def call(path: str, data: Any) -> Any:
    return Client().post(path, data, content_type="application/json").json()
