"""A step's key stays over attempts, deaths and resumes, and is another after a restart."""

from __future__ import annotations

from typing import Any

from django_workflow import (
    AsyncWorkflowContext,
    WorkflowContext,
    current_step,
    workflow,
)
from django_workflow.models import Run
from tests.app.models import Note
from tests.cases.ledger import ledger
from tests.cases.stage import Stage


def tell_key(first: str) -> str:
    step = current_step()
    ledger.write(f"{step.workflow_run_id} {step.idempotency_key}")
    if not Note.objects.filter(text="mended").exists():
        raise ValueError("Not yet.")
    return step.idempotency_key


@workflow(name="idempotency_key", retries=1, retry_delay="1m")
def sync(ctx: WorkflowContext[Any]) -> list[str]:
    return [ctx.run("key", tell_key, "a"), ctx.run("key", tell_key, "b")]


@workflow(name="idempotency_key.async", retries=1, retry_delay="1m")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> list[str]:
    return [await ctx.run("key", tell_key, "a"), await ctx.run("key", tell_key, "b")]


def play(stage: Stage) -> None:
    stage.box.crash_after("key")
    run = stage.trigger()
    stage.box.settle()
    stage.box.advance("1m")
    assert run.refresh().status == "failed"
    assert len(keys_of(run)) == 1

    Note.objects.create(text="mended")
    run.resume()
    again = run.restart()
    assert keys_of(run) == set(run.result)
    assert keys_of(again) == set(again.result)
    assert len(keys_of(run) | keys_of(again)) == 4


def keys_of(run: Run) -> set[str]:
    """Return the keys under which bodies of this run were called."""
    return {line.split()[1] for line in ledger.read() if line.startswith(f"{run.id} ")}
