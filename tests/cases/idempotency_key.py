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

#: The play changes code, time or luck in its own process.
IN_ONE_PROCESS = True


def tell_key() -> None:
    step = current_step()
    ledger.write(f"{step.workflow_run_id} {step.idempotency_key}")
    if not Note.objects.filter(text="mended").exists():
        raise ValueError("Not yet.")


@workflow(name="idempotency_key", retries=1, retry_delay="1m")
def sync(ctx: WorkflowContext[Any]) -> None:
    ctx.run("key", tell_key)
    ctx.run("key", tell_key)


@workflow(name="idempotency_key.async", retries=1, retry_delay="1m")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> None:
    await ctx.run("key", tell_key)
    await ctx.run("key", tell_key)


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
    assert (run.status, again.status) == ("completed", "completed")
    assert len(keys_of(run)) == len(keys_of(again)) == 2
    assert len(keys_of(run) | keys_of(again)) == 4


def keys_of(run: Run) -> set[str]:
    """Return the keys under which bodies of this run were called."""
    return {line.split()[1] for line in ledger.read() if line.startswith(f"{run.id} ")}
