"""Runs that have not come to an end: looked at in batches, and given new names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import F

from django_workflow.conf import settings
from django_workflow.core.types import FINISHED
from django_workflow.models import Attempt, Delivery, Run, RunLog, Step, Undo, Waiter
from django_workflow.store.claims import now as database_now
from django_workflow.store.rows import RUN_COLUMNS, Claim, RunRow
from django_workflow.store.sql import connection as journal
from django_workflow.store.sql import dialect

BATCH = 200


def living(
    workflows: list[str] | None, *, dead_letters: bool, batch: int = BATCH
) -> Iterator[Claim]:
    """Yield runs that have not ended, by id, each as a claim that nobody holds: to look at, not to write under."""
    runs = Run.objects.using(settings().DATABASE)
    found = runs.exclude(status__in=FINISHED) if dead_letters else runs.unfinished_or_paused()
    if workflows is not None:
        found = found.filter(workflow__in=workflows)
    last = ""
    while True:
        rows = list(
            found.filter(pk__gt=last).order_by("pk").values_list(*RUN_COLUMNS, named=False)[:batch]
        )
        moment = database_now()
        for row in rows:
            yield _unheld(row, moment)
        if len(rows) < batch:
            return
        last = rows[-1][0]


def look(run_id: str) -> Claim | None:
    """Return one run as it stands now, in the same form; None where there is none."""
    found = Run.objects.using(settings().DATABASE).filter(pk=run_id)
    row = found.values_list(*RUN_COLUMNS).first()
    return None if row is None else _unheld(row, database_now())


def _unheld(row: Any, moment: datetime) -> Claim:
    run = RunRow._make(row)
    return Claim(
        delivery_id=0, run_id=run.id, step_key="", token=-1, entry=0, wakes=0, tries=1, begun="", deaths=0,
        now=moment, run=run,
    )  # fmt: skip


def is_held(run_id: str) -> bool:
    """Tell whether a worker holds a delivery of the run now."""
    return (
        Delivery.objects.using(settings().DATABASE)
        .filter(run_id=run_id)
        .exclude(leased_by="")
        .exists()
    )


def rename(claim: Claim, workflow: str, steps: Mapping[str, tuple[str, str]]) -> bool:
    """Give a run the name of another workflow, and steps by key another (key, name); False if it has moved on.

    One transaction under the locks of the run's deliveries: nothing is written while somebody holds one of them, or if
    anything was recorded since the run was looked at.
    """
    alias, run = settings().DATABASE, claim.run
    with transaction.atomic(using=alias):
        # A write first of all, as SQLite wants it; the locks come in everybody's order.
        with journal().cursor() as cursor:
            dialect().lock_deliveries(cursor, run.id)
        moved = (
            Run.objects.using(alias)
            .filter(pk=run.id, status=run.status, revision=run.revision, workflow=run.workflow)
            .update(workflow=workflow, revision=F("revision") + 1)
        )
        if not moved or is_held(run.id):
            transaction.set_rollback(True, using=alias)
            return False
        found = Step.objects.using(alias).filter(run_id=run.id, key__in=list(steps))
        if found.count() != len(steps):
            transaction.set_rollback(True, using=alias)
            return False
        # By way of keys that no step has, for names that are exchanged.
        aside = {key: f"\x01{number}" for number, key in enumerate(steps)}
        _rename_keys(claim, aside)
        _rename_keys(claim, {aside[key]: new_key for key, (new_key, _) in steps.items()})
        for new_key, name in steps.values():
            Step.objects.using(alias).filter(run_id=run.id, key=new_key).update(name=name)
            Undo.objects.using(alias).filter(run_id=run.id, step_key=new_key).update(name=name)
    return True


def can_undo(run_id: str) -> set[str]:
    """Return the keys of the steps that can still be undone."""
    found = Undo.objects.using(settings().DATABASE).filter(run_id=run_id, undone=False)
    return set(found.values_list("step_key", flat=True))


def _rename_keys(claim: Claim, keys: Mapping[str, str]) -> None:
    alias, run = settings().DATABASE, claim.run
    rows: list[tuple[Any, str, dict[str, Any]]] = [
        (Step, "key", {}),
        (Attempt, "step_key", {"generation": None}),
        (Delivery, "step_key", {}),
        (Waiter, "step_key", {}),
        (Undo, "step_key", {}),
        (RunLog, "after", {"generation": run.generation}),
    ]
    for model, column, more in rows:
        of_run = model._base_manager.using(alias).filter(run_id=run.id, **more)
        for key, new_key in keys.items():
            of_run.filter(**{column: key}).update(**{column: new_key})
    for key, new_key in keys.items():
        Run.objects.using(alias).filter(pk=run.id, failed_step=key).update(failed_step=new_key)
