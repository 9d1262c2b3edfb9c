"""A call's answer is a result whatever its status; a request that a crash repeats carries the same key."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import mark
from tests.cases.stage import Stage

#: The answers are in this process's box.
IN_ONE_PROCESS = True

URL = "https://partner.example/orders"


@workflow(name="call")
def sync(ctx: WorkflowContext[Any]) -> Any:
    ctx.run("before", mark, "before")
    made = ctx.call("tell", URL, method="POST", json={"order": 1}, headers={"Authorization": "x"})
    gone = ctx.call("ask", f"{URL}/1")
    ctx.run("after", mark, "after")
    return [made.status, made.body, made.headers["x-one"], gone.status, gone.body]


@workflow(name="call.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    await ctx.run("before", mark, "before")
    made = await ctx.call(
        "tell", URL, method="POST", json={"order": 1}, headers={"Authorization": "x"}
    )
    gone = await ctx.call("ask", f"{URL}/1")
    await ctx.run("after", mark, "after")
    return [made.status, made.body, made.headers["x-one"], gone.status, gone.body]


def play(stage: Stage) -> None:
    stage.box.respond("POST", URL, status=201, json={"id": 7}, headers={"X-One": "1"})
    stage.box.respond("GET", f"{URL}/1", status=404)

    run = stage.trigger()

    assert run.result == [201, {"id": 7}, "1", 404, ""]
    stage.ran("before")
    stage.ran("after")
    posts = [call for call in stage.box.calls if call.method == "POST"]
    assert len({call.headers["idempotency-key"] for call in posts}) == 1
    assert 1 <= len(posts) <= 1 + stage.box.crashes
    assert posts[0].json == {"order": 1}
    assert posts[0].headers["Authorization"] == "x"
    assert not run.calls.filter(request_text__contains='"x"').exists()
