"""Runs that sleep, and are woken together: what tests of batches of turns share."""

from __future__ import annotations

from functools import partial
from typing import Any

from django_workflow import WorkflowContext, workflow
from django_workflow.models import Delivery, Run, Step
from django_workflow.runtime.journals import journals
from django_workflow.runtime.worker import drain
from tests.concurrency.together import bodies, finished
from tests.store.made import PAST


@workflow(name="rested", transport="inline")
def rested(ctx: WorkflowContext[str]) -> int:
    """Sleep, then work."""
    ctx.sleep("rest", "1h")
    return ctx.run("work", bodies, ctx.request_payload)


@workflow(name="working_and_resting", transport="inline")
def fan(ctx: WorkflowContext[Any]) -> list[Any]:
    """Sleep beside a body."""
    return [
        *ctx.parallel(partial(ctx.run, "slow", bodies, "slow"), partial(ctx.sleep, "nap", "1h"))
    ]


def asleep(of: Any, *payloads: str) -> list[Run]:
    """Trigger runs of a workflow, and carry them to where they sleep."""
    runs = of.trigger_many([*payloads])
    drain()
    return runs


def wake(*runs: Any) -> None:
    """Let the sleeps of these runs be over, in the order given, for a process that has seen none of them."""
    Step.objects.filter(status="sleeping").update(wake_at=PAST)
    for place, run in enumerate(runs):
        due = PAST.replace(year=PAST.year - len(runs) + place)
        Delivery.objects.filter(run_id=run.id, step_key="").update(due_at=due)
    journals.clear()


def results(runs: list[Run]) -> list[Any]:
    """Return what these runs have returned, carried to their ends."""
    return [finished(run).result for run in runs]
