"""Runs that come from a file: inserted with their journals, and with nothing of them due.

What is kept here: an imported run does nothing by itself. One that had ended has ended here too; any other is paused,
until a person resumes it, and what it waited for is asked for anew then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import IntegrityError, transaction

from django_workflow.conf import settings
from django_workflow.core.actors import Actor
from django_workflow.core.types import FINISHED
from django_workflow.models import Attempt, Delivery, Run, RunLabel, RunLog, Step, Undo
from django_workflow.store import actions
from django_workflow.store.actions import Change
from django_workflow.store.at_rest import as_kept
from django_workflow.store.repeating import repeated

Row = Mapping[str, Any]


@repeated
def insert(
    run: Row,
    *,
    labels: Sequence[str],
    steps: Sequence[Row],
    attempts: Sequence[Row],
    undos: Sequence[Row],
    logs: Sequence[Row],
    by: Actor,
    why: str,
) -> bool:
    """Insert a run with its journal, in one transaction; return False, having written nothing, if its id is taken."""
    alias, run_id = settings().DATABASE, run["id"]
    with transaction.atomic(using=alias):
        try:
            with transaction.atomic(using=alias):
                Run.objects.using(alias).create(**as_kept(Run, run))
        except IntegrityError:
            return False
        many: list[tuple[Any, list[Any]]] = [
            (RunLabel, [RunLabel(run_id=run_id, label=label) for label in labels]),
            (Step, [Step(run_id=run_id, **as_kept(Step, row)) for row in steps]),
            (Attempt, [Attempt(run_id=run_id, **as_kept(Attempt, row)) for row in attempts]),
            (Undo, [Undo(run_id=run_id, **as_kept(Undo, row)) for row in undos]),
            (RunLog, [RunLog(run_id=run_id, **as_kept(RunLog, row)) for row in logs]),
        ]
        for model, rows in many:
            model._base_manager.using(alias).bulk_create(rows, batch_size=200)
        if run["status"] not in FINISHED:
            # Sequence numbers go on where they stood.
            wakes = max((row["sequence"] for row in steps), default=0)
            Delivery.objects.using(alias).create(run_id=run_id, wakes=wakes)
        actions.keep("import", [Change(run_id, "", run["status"])], by=by, why=why)
    return True
