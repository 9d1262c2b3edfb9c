"""A branch that is added behind the others, while they are open, is executed."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import mark
from tests.cases.stage import Stage

#: The play changes code, time or luck in its own process.
IN_ONE_PROCESS = True


@workflow(name="branch_appended")
def sync(ctx: WorkflowContext[Any]) -> Any:
    return list(ctx.parallel(lambda: ctx.run("one", mark, "one"), lambda: ctx.sleep("rest", "1h")))


@workflow(name="branch_appended.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    return list(await ctx.parallel(ctx.run("one", mark, "one"), ctx.sleep("rest", "1h")))


def later(ctx: WorkflowContext[Any]) -> Any:
    return list(
        ctx.parallel(
            lambda: ctx.run("one", mark, "one"),
            lambda: ctx.sleep("rest", "1h"),
            lambda: ctx.run("new", mark, "new"),
        )
    )


async def alater(ctx: AsyncWorkflowContext[Any]) -> Any:
    return list(
        await ctx.parallel(
            ctx.run("one", mark, "one"), ctx.sleep("rest", "1h"), ctx.run("new", mark, "new")
        )
    )


def play(stage: Stage) -> None:
    run = stage.trigger()
    stage.deploy(later, alater)
    stage.box.advance("1h")

    assert run.refresh().result == ["one", None, "new"]
    stage.ran("one")
    stage.ran("new")
