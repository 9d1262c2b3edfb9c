"""Only the errors that retry_on names are tried again; a predicate decides where it is one."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, StepError, WorkflowContext, workflow
from tests.cases.bodies import flaky
from tests.cases.stage import Stage


def is_second(error: BaseException) -> bool:
    return "Try 1" in str(error)


@workflow(name="retry_on", retries=3, retry_delay="1s", retry_on=KeyError)
def sync(ctx: WorkflowContext[Any]) -> list[Any]:
    try:
        ctx.run("not named", flaky, "not named", 2)
    except StepError as error:
        attempts = error.failure.attempts
    named = ctx.using(retry_on=(KeyError, Exception)).run("named", flaky, "named", 1)
    try:
        ctx.using(retry_on=is_second).run("decided", flaky, "decided", 3)
    except StepError as error:
        return [attempts, named, error.failure.attempts]
    return []


@workflow(name="retry_on.async", retries=3, retry_delay="1s", retry_on=KeyError)
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> list[Any]:
    try:
        await ctx.run("not named", flaky, "not named", 2)
    except StepError as error:
        attempts = error.failure.attempts
    named = await ctx.using(retry_on=(KeyError, Exception)).run("named", flaky, "named", 1)
    try:
        await ctx.using(retry_on=is_second).run("decided", flaky, "decided", 3)
    except StepError as error:
        return [attempts, named, error.failure.attempts]
    return []


def play(stage: Stage) -> None:
    run = stage.trigger()
    stage.box.advance("10s")

    assert run.refresh().result == [1, 2, 2]
    stage.ran("not named", 1)
    stage.ran("named", 2)
    stage.ran("decided", 2)
