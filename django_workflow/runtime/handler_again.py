"""Failure handlers that people have run once more."""

from __future__ import annotations

import logging
from typing import Any

from django.db import transaction

from django_workflow.conf import settings
from django_workflow.core.actors import Actor
from django_workflow.core.exceptions import RunNotFoundError, RunStateError
from django_workflow.core.types import RunStatus
from django_workflow.core.workflow import registry
from django_workflow.models import Run, RunQuerySet
from django_workflow.runtime.worker import hint
from django_workflow.store import actions, handlers
from django_workflow.store import runs as store
from django_workflow.store.actions import Change
from django_workflow.store.repeating import repeated

logger = logging.getLogger(__name__)


def with_handler_to_run(found: RunQuerySet) -> RunQuerySet:
    """Return the failed ones among these runs whose failure handler failed itself, or that have not had theirs."""
    names = [workflow.name for workflow in registry if workflow.failure_handler is not None]
    again = ["", RunStatus.FAILED]
    return found.filter(status=RunStatus.FAILED, handler_status__in=again, workflow__in=names)


@repeated
def rerun_handler(run_id: str, *, actor: Any = None, why: str = "") -> None:
    """Run the failure handler of a failed run anew, where it failed itself or there was none yet.

    Raises:
        RunNotFoundError: there is no such run.
        RunStateError: the run has not failed, its handler has done its work or is at it, or it has none.
        WorkflowNotFoundError: this process does not know its workflow.
    """
    by, alias = Actor.of(actor), settings().DATABASE
    run = Run.objects.using(alias).filter(pk=run_id).first()
    if run is None:
        raise RunNotFoundError(f'There is no run "{run_id}".', run_id=run_id)
    workflow = registry.get(run.workflow)
    if workflow.failure_handler is None:
        raise RunStateError(
            f'Workflow "{run.workflow}" has no failure handler.', run_id=run_id, state=run.status
        )
    with transaction.atomic(using=alias):
        before = store.locked_state(run_id)
        done = before == RunStatus.FAILED and handlers.run_again(run_id)
        if done:
            actions.keep(
                "rerun_handler",
                [Change(run_id, RunStatus.FAILED, RunStatus.FAILED)],
                by=by,
                why=why,
            )
    if not done:
        run = run.refresh()
        told = f"its failure handler is {run.handler_status}" if run.handler_status else run.reason
        raise RunStateError(
            f'Run "{run_id}" is {run.status}; {told or "it"}: only a handler that failed, or that a failed run has not had, '
            "is run again.",
            run_id=run_id,
            state=run.status,
        )
    transaction.on_commit(hint, using=alias, robust=True)
    extra = {"run_id": run_id, "actor": by.name, "door": by.door, "why": why}
    logger.info("The failure handler of run %s is run again", run_id, extra=extra)
