"""Names may hold what keys are made of: slashes, hashes, dots and any language."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import mark
from tests.cases.stage import Stage

NAMES = ["a/b", "a", "a#2", "a", "p1.0/a", "failure.1/x", "größe ✓", "x" * 200]


@workflow(name="odd_names")
def sync(ctx: WorkflowContext[Any]) -> list[str]:
    return [ctx.run(name, mark, f"{index}") for index, name in enumerate(NAMES)]


@workflow(name="odd_names.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> list[str]:
    return [await ctx.run(name, mark, f"{index}") for index, name in enumerate(NAMES)]


def play(stage: Stage) -> None:
    run = stage.trigger()

    assert run.result == [str(index) for index in range(len(NAMES))]
    assert stage.box.steps(run) == NAMES
    stage.ran("0")
    stage.ran("7")
