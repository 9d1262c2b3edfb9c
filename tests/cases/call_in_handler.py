"""A failure handler calls too; a call of another branch is left alone meanwhile."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, Failure, WorkflowContext, workflow
from tests.cases.bodies import refused
from tests.cases.stage import Stage

#: The answers are in this process's box.
IN_ONE_PROCESS = True

URL = "https://partner.example"


@workflow(name="call_in_handler")
def sync(ctx: WorkflowContext[Any]) -> Any:
    ctx.run("refused", refused, "refused")


@sync.on_failure
def tell(ctx: WorkflowContext[Any], failure: Failure) -> None:
    ctx.call("tell", f"{URL}/failures", method="POST", json={"message": failure.message})


@workflow(name="call_in_handler.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    await ctx.run("refused", refused, "refused")


@asynchronous.on_failure
async def atell(ctx: AsyncWorkflowContext[Any], failure: Failure) -> None:
    await ctx.call("tell", f"{URL}/failures", method="POST", json={"message": failure.message})


def play(stage: Stage) -> None:
    stage.box.respond("POST", f"{URL}/failures", status=204)

    run = stage.trigger()

    assert (run.status, run.handler_status) == ("failed", "completed")
    assert stage.box.calls[-1].json == {"message": "refused is refused."}
