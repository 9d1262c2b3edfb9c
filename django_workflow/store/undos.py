"""Undo: what can take back the steps of a run that fails or is cancelled.

What is kept here: (1) what undoes a step is registered under the fencing token before the body begins, so no body is
begun of which a cancel does not know; (2) a round is planned once, when nothing of it is in flight any more, and is
the same in every pass; (3) what was undone is not undone again, unless its step was begun anew.
"""

from __future__ import annotations

from typing import Any

from django.db import transaction

from django_workflow.at_rest.vault import sealed
from django_workflow.conf import settings
from django_workflow.core.types import RunStatus, StepStatus
from django_workflow.models import Run, Step, Undo
from django_workflow.store import deliveries, runs
from django_workflow.store.claims import now as database_now
from django_workflow.store.records import fenced
from django_workflow.store.repeating import repeated
from django_workflow.store.rows import DELIVERY, Claim
from django_workflow.store.sql import connection


def _undos(run_id: str) -> Any:
    return Undo.objects.using(settings().DATABASE).filter(run_id=run_id)


@repeated
def register(claim: Claim, key: str, **fields: Any) -> bool:
    """Keep what undoes a step whose body is about to begin. False if the run does not go on any more.

    Raises:
        DeliveryFencedError: the claim is stale; nothing was written.
    """
    alias = settings().DATABASE
    fields["arguments_text"] = sealed(fields["arguments_text"])
    with transaction.atomic(using=alias):
        with connection().cursor() as cursor:
            cursor.execute(
                f"UPDATE {DELIVERY} SET token = token WHERE id = %s AND token = %s",
                (claim.delivery_id, claim.token),
            )
            if not cursor.rowcount:
                raise fenced(claim, f'The undo of step "{fields["name"]}"')
        # Asked under the lock: a cancel that came before is seen, one that comes later sees this row.
        if (
            not Run.objects.using(alias)
            .filter(pk=claim.run_id, status__in=[RunStatus.PENDING, RunStatus.RUNNING, RunStatus.PAUSED])
            .exists()
        ):  # fmt: skip
            return False
        again = {"undone": False, "round": 0, "place": 0, "outcome": ""}
        if not _undos(claim.run_id).filter(step_key=key).update(**again, **fields):
            Undo.objects.using(alias).create(run_id=claim.run_id, step_key=key, **fields)
    return True


@repeated
def plan(claim: Claim) -> bool:
    """Decide what is undone in which order, when nothing of it is in flight, and wake the turn. False if the claim is stale.

    While a body is in flight the turn waits for its record, or for the end of its lease.
    """
    alias, run_id = settings().DATABASE, claim.run_id
    with transaction.atomic(using=alias):
        if not runs.end_claim(claim):
            return False
        left = list(_undos(run_id).filter(undone=False).order_by("-id"))
        due = deliveries.of_run(run_id)
        in_flight = due.filter(
            step_key__in=[undo.step_key for undo in left], due_at__gt=database_now()
        ).exclude(leased_by="")
        first = in_flight.order_by("due_at").first()
        if first is not None:
            due.filter(step_key="").update(due_at=first.due_at)
            return True
        recorded = dict(
            Step.objects.using(alias)
            .filter(run_id=run_id, sequence__isnull=False)
            .values_list("key", "sequence")
        )
        done = set(
            Step.objects.using(alias)
            .filter(run_id=run_id, status=StepStatus.COMPLETED)
            .values_list("key", flat=True)
        )
        # What is not recorded was begun last; an atomic body without a result has left nothing.
        left = [undo for undo in left if not undo.atomic or undo.step_key in done]
        left.sort(key=lambda undo: -(recorded.get(undo.step_key) or claim.wakes + 1))
        number = claim.run.undo_round + 1
        for place, undo in enumerate(left, 1):
            undo.round, undo.place = number, place
            undo.outcome = "done" if undo.step_key in done else "unknown"
        Undo.objects.using(alias).bulk_update(left, ["round", "place", "outcome"])
        run = Run.objects.using(alias).filter(pk=run_id)
        run.update(undo_status="running", undo_round=number)
        if run.filter(status=RunStatus.CANCELLING).exists():
            due.exclude(step_key="").delete()
            runs.close_steps(run_id, StepStatus.CANCELLED)
        runs.wake(run_id)
    return True


def of_round(run_id: str, number: int) -> list[Undo]:
    """Return what is undone in this round, in its order."""
    return list(_undos(run_id).filter(round=number).order_by("place"))


@repeated
def end(claim: Claim, done: list[int], *, is_failed: bool, failure_text: str | None) -> bool:
    """End a round: a cancelled run is cancelled with it, a failed one goes on to its handler. False if the claim is stale."""
    alias, run_id = settings().DATABASE, claim.run_id
    with transaction.atomic(using=alias):
        if not runs.end_claim(claim):
            return False
        _undos(run_id).filter(pk__in=done).update(undone=True)
        run = Run.objects.using(alias).filter(pk=run_id)
        status = "failed" if is_failed else "completed"
        if not run.filter(undo_status="running").update(
            undo_status=status, undo_failure_text=sealed(failure_text)
        ):
            runs.wake(run_id)
            return False
        if run.filter(status=RunStatus.CANCELLING).exists():
            runs.finish_cancelled(run_id)
        elif claim.run.parent_waits or run.filter(handler_status=RunStatus.RUNNING).exists():
            runs.wake(run_id)
    return True


def forget(run_id: str) -> None:
    """Forget what undoes the steps of a generation that has ended well."""
    _undos(run_id).delete()
