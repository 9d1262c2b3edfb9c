"""Without a known URL the step fails at once and says which setting is missing; resumed, the run goes on."""

from __future__ import annotations

from typing import Any

from django.test import override_settings

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.outside import reachable
from tests.cases.stage import Stage

IN_ONE_PROCESS = True


@workflow(name="webhook_unreachable", transport="inline")
def sync(ctx: WorkflowContext[Any]) -> Any:
    return ctx.create_webhook("hook").webhook_url


@workflow(name="webhook_unreachable.async", transport="inline")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    return (await ctx.create_webhook("hook")).webhook_url


def play(stage: Stage) -> None:
    with reachable():
        with served_nowhere():
            run = stage.trigger()
        failure = run.refresh().failure
        assert failure is not None
        assert (failure.step, failure.attempts) == ("hook", 1)
        assert 'WORKFLOW["BASE_URL"] is not set' in failure.message
        run.resume()
        assert run.refresh().result.startswith("http://testserver/workflows/webhooks/")
        assert run.webhooks.count() == 1


def served_nowhere() -> Any:
    return override_settings(WORKFLOW={"DISPATCHER": "embedded"})
