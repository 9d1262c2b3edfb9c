"""No answer at all is a CallError: caught it is the workflow's matter, uncaught the run fails and can be resumed."""

from __future__ import annotations

from typing import Any

import pytest

from django_workflow import (
    AsyncWorkflowContext,
    CallError,
    RunFailedError,
    WorkflowContext,
    workflow,
)
from tests.cases.stage import Stage

#: The answers are in this process's box.
IN_ONE_PROCESS = True

URL = "https://partner.example/orders"


@workflow(name="call_no_answer")
def sync(ctx: WorkflowContext[Any]) -> Any:
    try:
        ctx.call("first", f"{URL}/1")
    except CallError as error:
        caught = [error.step, error.attempts, error.failure.message]
    return [caught, ctx.call("second", f"{URL}/2", headers={"X-Api-Key": "shh"}).body]


@workflow(name="call_no_answer.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    try:
        await ctx.call("first", f"{URL}/1")
    except CallError as error:
        caught = [error.step, error.attempts, error.failure.message]
    second = await ctx.call("second", f"{URL}/2", headers={"X-Api-Key": "shh"})
    return [caught, second.body]


def play(stage: Stage) -> None:
    stage.box.respond("GET", f"{URL}/1", error="nobody there")
    stage.box.respond("GET", f"{URL}/2", error="nobody there")
    run = stage.trigger()

    assert run.status == "failed"
    with pytest.raises(RunFailedError, match="nobody there"):
        _ = run.result
    # What is over keeps no secrets; made anew, the request has them again.
    assert not run.calls.filter(request_text__contains="shh").exists()

    stage.box.forget_answers()
    stage.box.respond("GET", f"{URL}/2", body="here")
    run.resume()
    assert run.refresh().result == [["first", 1, "nobody there"], "here"]
    assert stage.box.calls[-1].headers["X-Api-Key"] == "shh"
