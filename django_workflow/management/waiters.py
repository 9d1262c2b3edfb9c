"""Who waits for events, as commands print it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django_workflow.conf import settings
from django_workflow.management.base import WorkflowCommand
from django_workflow.management.output import clock, moment
from django_workflow.models import Step, Waiter

COLUMNS = ("event", "run", "workflow", "step", "since", "until")


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """A step that waits for an event."""

    event_id: str
    run_id: str
    workflow: str
    step: str
    step_key: str
    since: datetime
    until: datetime | None


def waiters_of(found: Iterable[Waiter]) -> list[Waiting]:
    """Return what is told of these waiters, in their order; two more queries for any number."""
    waiters = list(found)
    alias, ids = settings().DATABASE, {waiter.run_id for waiter in waiters}
    steps = {
        (step.run_id, step.key): step
        for step in Step.objects.using(alias)
        .filter(run_id__in=ids, sequence=None)
        .select_related("run")
    }
    return [
        Waiting(
            event_id=waiter.event_id,
            run_id=waiter.run_id,
            workflow=step.run.workflow,
            step=step.name,
            step_key=step.key,
            since=waiter.created_at,
            until=step.wake_at,
        )
        for waiter in waiters
        # Recorded in between: nobody waits any more.
        if (step := steps.get((waiter.run_id, waiter.step_key))) is not None
    ]


def print_waiters(command: WorkflowCommand, waiting: list[Waiting]) -> None:
    """Print them, as JSON or as a table."""
    if command.as_json:
        command.screen.json(
            [
                {
                    "event_id": one.event_id,
                    "workflow_run_id": one.run_id,
                    "workflow": one.workflow,
                    "step": one.step,
                    "step_key": one.step_key,
                    "since": moment(one.since),
                    "until": moment(one.until),
                }
                for one in waiting
            ]
        )
        return
    rows = [
        (one.event_id, one.run_id, one.workflow, one.step_key, clock(one.since), clock(one.until))
        for one in waiting
    ]
    command.screen.table(COLUMNS, rows)
