"""The rows of an atomic step commit together with its record, and its hooks run after the commit."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.app.models import Note
from tests.cases.bodies import mark, write_note
from tests.cases.ledger import ledger
from tests.cases.stage import Stage


@workflow(name="atomic")
def sync(ctx: WorkflowContext[Any]) -> str:
    text = ctx.atomic("write", write_note, "written")
    ctx.run("after", mark, "after")
    return text


@workflow(name="atomic.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> str:
    text = await ctx.atomic("write", write_note, "written")
    await ctx.run("after", mark, "after")
    return text


def play(stage: Stage) -> None:
    run = stage.trigger()

    assert run.result == "written"
    assert Note.objects.get().text == "written"
    stage.ran("written")
    assert ledger.read().count("hook of written") <= 1
    stage.ran("after")
