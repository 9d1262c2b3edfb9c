"""Runs that have not come to an end: looked at in batches, and given new names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import F

from django_workflow.conf import settings
from django_workflow.core.codec import codec
from django_workflow.core.maps import slice_of
from django_workflow.core.types import FINISHED, StepKind
from django_workflow.models import (
    Approval,
    Attempt,
    Call,
    Delivery,
    FlowTicket,
    MapItem,
    Run,
    RunLog,
    Step,
    Undo,
    Waiter,
    Webhook,
)
from django_workflow.store.claims import now as database_now
from django_workflow.store.repeating import repeated
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


@repeated
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
            _rename_titles(run.id, new_key, name)
            Step.objects.using(alias).filter(run_id=run.id, key=new_key).update(name=name)
            # What is planned already is asked for under the name that it had then.
            Undo.objects.using(alias).filter(run_id=run.id, step_key=new_key, round=0).update(
                name=name
            )
    return True


def can_undo(run_id: str) -> set[str]:
    """Return the keys of the steps that can still be undone."""
    found = Undo.objects.using(settings().DATABASE).filter(run_id=run_id, undone=False)
    return set(found.values_list("step_key", flat=True))


def _rename_titles(run_id: str, key: str, name: str) -> None:
    """Give an approval that was called as its step is the step's new name."""
    alias = settings().DATABASE
    asked = {"run_id": run_id, "key": key, "kind": StepKind.WAIT_FOR_APPROVAL}
    for step in Step.objects.using(alias).filter(**asked):
        arguments = step.arguments
        if arguments.get("title") == step.name:
            text = codec.dumps({**arguments, "title": name}, what="arguments")
            Step.objects.using(alias).filter(pk=step.pk).update(arguments_text=text)
            Approval.objects.using(alias).filter(run_id=run_id, step_key=key).update(title=name)


def _columns(claim: Claim) -> list[tuple[Any, str]]:
    """Return all rows of a run that are found by a step's key, with the column that holds it.

    What belongs to an earlier generation has keys of its own, and keeps them.
    """
    run_id, alias = claim.run_id, settings().DATABASE
    found = [
        (model._base_manager.using(alias).filter(run_id=run_id), "step_key")
        for model in (Approval, Call, Delivery, FlowTicket, MapItem, Undo, Waiter, Webhook)
    ]
    runs = Run.objects.using(alias)
    return [
        (Step.objects.using(alias).filter(run_id=run_id), "key"),
        (Attempt.objects.using(alias).filter(run_id=run_id, generation=None), "step_key"),
        (
            RunLog.objects.using(alias).filter(run_id=run_id, generation=claim.run.generation),
            "after",
        ),
        *found,
        # What has died is told by its key, so that the next death is one more in a row.
        (Delivery.objects.using(alias).filter(run_id=run_id), "begun"),
        (runs.filter(pk=run_id), "failed_step"),
        (runs.filter(parent=run_id), "parent_step"),
    ]


def _rename_keys(claim: Claim, keys: Mapping[str, str]) -> None:
    children = Run.objects.using(settings().DATABASE).filter(
        parent=claim.run_id, parent_step__in=list(keys)
    )
    # In the order in which who deletes runs locks them.
    list(children.order_by("pk").select_for_update().values_list("pk"))
    for rows, column in _columns(claim):
        for key, new_key in keys.items():
            rows.filter(**{column: key}).update(**{column: new_key})
    _rename_slices(claim, keys)


def _rename_slices(claim: Claim, keys: Mapping[str, str]) -> None:
    """Rename what is kept by the items of a map: its deliveries, with what has begun there, and their places in line."""
    alias = settings().DATABASE
    for model, column in ((Delivery, "step_key"), (Delivery, "begun"), (FlowTicket, "step_key")):
        rows = model._base_manager.using(alias).filter(run_id=claim.run_id)
        parts = rows.filter(**{f"{column}__contains": "//["}).values_list("pk", column)
        for pk, key in list(parts):
            of_map, _, places = key.rpartition("//[")
            if of_map in keys and (column == "begun" or slice_of(key) is not None):
                rows.filter(pk=pk).update(**{column: f"{keys[of_map]}//[{places}"})
