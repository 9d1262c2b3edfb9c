"""Resume goes on from the step that failed, with a new round of attempts; all else is kept."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, current_step, workflow
from tests.app.models import Note
from tests.cases.bodies import mark
from tests.cases.ledger import ledger
from tests.cases.stage import Stage


def picky(key: str) -> str:
    ledger.write("picky")
    ledger.write(f"key {current_step().idempotency_key}")
    if not Note.objects.filter(text=key).exists():
        raise ValueError("Not yet.")
    return "done"


@workflow(name="resume", retries=1, retry_delay="1s")
def sync(ctx: WorkflowContext[Any]) -> str:
    ctx.run("before", mark, "before")
    return ctx.run("picky", picky, "mended")


@workflow(name="resume.async", retries=1, retry_delay="1s")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> str:
    await ctx.run("before", mark, "before")
    return await ctx.run("picky", picky, "mended")


def play(stage: Stage) -> None:
    run = stage.trigger()
    stage.box.advance("1s")
    assert run.refresh().status == "failed"

    run.resume()
    stage.box.advance("1s")
    assert run.refresh().status == "failed"

    Note.objects.create(text="mended")
    run.resume()
    assert run.result == "done"
    assert run.failure is None
    stage.ran("before")
    stage.ran("picky", 5)
    assert len({line for line in ledger.read() if line.startswith("key ")}) == 1
