"""Children: runs started by a step of another run, and what becomes of that step when they end.

What is kept here: (1) a child is inserted in the transaction that registers the step it belongs to; (2) a child that
has ended keeps its turn, due, until its parent was told: whoever dies in between, the turn is claimed again; (3) no
transaction locks two runs: the parent's step is recorded in one, the child's turn ended in another, and both may be
repeated; (4) the end of a child and the timeout of its step write the step `WHERE sequence IS NULL`: one of them wins.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q

from django_workflow.at_rest.vault import sealed
from django_workflow.conf import settings
from django_workflow.core.types import FINISHED, RunStatus, StepStatus
from django_workflow.models import Delivery, Run, Step
from django_workflow.models.runs import STILL_AT_WORK
from django_workflow.store import deliveries, triggers
from django_workflow.store.claims import now as database_now
from django_workflow.store.records import OPEN, fenced, moved
from django_workflow.store.repeating import repeated
from django_workflow.store.rows import DELIVERY, RUN, STEP, Claim, Recorded, StepRow, moment_of
from django_workflow.store.sql import connection, dialect
from django_workflow.store.triggers import NewRun

ENDED = Q(status__in=sorted(FINISHED)) | Q(status=RunStatus.FAILED) & ~STILL_AT_WORK


def _runs() -> Any:
    return Run.objects.using(settings().DATABASE)


def to_tell(run_id: str) -> Run | None:
    """Return a run that has ended, if its parent has still to be told."""
    found: Run | None = _runs().filter(ENDED, pk=run_id, parent_waits=True).first()
    return found


@repeated
def record_end(child: Run, failure_text: str | None) -> tuple[bool, bool]:
    """Record what became of a child in the parent's step, if that still waits.

    Returns whether the parent is woken, and whether the step was recorded by this very call.
    ``failure_text`` is None for a child that completed: then its result is the step's.
    """
    speak = dialect()
    with transaction.atomic(using=settings().DATABASE), connection().cursor() as cursor:
        sequence = speak.raise_wakes(cursor, child.parent_id) if child.parent_id else 0
        if not sequence:
            return False, False
        now, values = speak.now()
        status = StepStatus.COMPLETED if failure_text is None else StepStatus.FAILED
        # The result goes from row to row, not through this process; a failed run has none.
        cursor.execute(
            f"UPDATE {STEP} SET status = %s, sequence = %s, attempts = 1, failure_text = %s, finished_at = {now}, "
            f"result_text = (SELECT r.result_text FROM {RUN} r WHERE r.id = %s) "
            f"WHERE run_id = %s AND {speak.name('key')} = %s AND kind = 'invoke' AND sequence IS NULL "
            f"AND status IN ({', '.join(['%s'] * len(OPEN))})",
            (str(status), sequence, sealed(failure_text), *values, child.id, child.parent_id, child.parent_step, *OPEN),
        )  # fmt: skip
        is_recorded = bool(cursor.rowcount)
    return True, is_recorded


@repeated
def end_telling(run_id: str) -> None:
    """End the turn that an ended child has kept; that of a failed one stays, for a resume."""
    with transaction.atomic(using=settings().DATABASE):
        with connection().cursor() as cursor:
            dialect().lock_deliveries(cursor, run_id)
        if not _runs().filter(ENDED, pk=run_id).update(parent_waits=False):
            return
        due = deliveries.of_run(run_id)
        if _runs().filter(pk=run_id, status__in=FINISHED).exists():
            due.delete()
        else:
            due.filter(step_key="", leased_by="").update(due_at=None)


@repeated
def make_due(run_id: str) -> None:
    """Have a worker tell the parent of a run that has just ended, if this process dies before it can."""
    deliveries.of_run(run_id).filter(step_key="", leased_by="").update(due_at=database_now())


@repeated
def time_out(claim: Claim, row: StepRow) -> Recorded | None:
    """Record that the time of a step is over; None if its child has ended first.

    Raises:
        DeliveryFencedError: the claim is stale; nothing was written.
    """
    speak = dialect()
    with transaction.atomic(using=settings().DATABASE), connection().cursor() as cursor:
        sequence = speak.fence(
            cursor, claim.delivery_id, claim.token, claim.run_id, is_turn=claim.is_turn
        )
        if not sequence:
            raise fenced(claim, f'Step "{row.name}"')
        if not speak.write_step(cursor, claim.run_id, row, sequence):
            return None
        cursor.execute(
            f"SELECT finished_at FROM {STEP} WHERE run_id = %s AND {speak.name('key')} = %s",
            (claim.run_id, row.key),
        )
        done = Recorded(sequence, moment_of(cursor.fetchone()[0]))
    return moved(claim, done, 1)


def latest(parent_id: str, key: str) -> Run | None:
    """Return the latest child of a step."""
    found: Run | None = (
        _runs().filter(parent=parent_id, parent_step=key).order_by("-created_at", "-id").first()
    )
    return found


@repeated
def await_again(run_id: str) -> bool:
    """Have a child tell its parent of its end, be that to come or over. Returns False if it was cancelled."""
    with transaction.atomic(using=settings().DATABASE):
        with connection().cursor() as cursor:
            dialect().lock_deliveries(cursor, run_id)
        if (
            not _runs()
            .filter(pk=run_id)
            .exclude(status=RunStatus.CANCELLED)
            .update(parent_waits=True)
        ):
            return False
        if _runs().filter(ENDED, pk=run_id).exists():
            Delivery.objects.using(settings().DATABASE).get_or_create(run_id=run_id, step_key="")
            make_due(run_id)
    return True


@repeated
def wait_again(claim: Claim, key: str, child: NewRun | None, timeout: timedelta | None) -> bool:
    """Let a step that was opened again wait for its child: the one it had, or a new one. False if the id is taken.

    Raises:
        DeliveryFencedError: the claim is stale; nothing was written.
    """
    with transaction.atomic(using=settings().DATABASE), connection().cursor() as cursor:
        cursor.execute(
            f"UPDATE {DELIVERY} SET begun = '' WHERE id = %s AND token = %s",
            (claim.delivery_id, claim.token),
        )
        if not cursor.rowcount:
            raise fenced(claim, f'The step "{key}"')
        if child is not None and not triggers.insert([child]):
            return False
        speak = dialect()
        until, values = ("NULL", ()) if timeout is None else speak.now(timeout)
        cursor.execute(
            f"UPDATE {STEP} SET status = 'waiting', wake_at = {until} WHERE run_id = %s AND {speak.name('key')} = %s "
            "AND sequence IS NULL",
            (*values, claim.run_id, key),
        )
    return True


def to_cancel(parent_id: str, limit: int) -> list[str]:
    """Return children that have still to be told that they are cancelled."""
    found = _runs().to_cancel_with(parent_id)
    ids = (
        found.exclude(status=RunStatus.CANCELLING, parent_waits=True)
        .order_by("pk")
        .values_list("pk", flat=True)
    )
    return list(ids[:limit])


def are_left(parent_id: str) -> bool:
    """Tell whether a run that is being cancelled has children that are not cancelled yet."""
    return bool(_runs().to_cancel_with(parent_id).exists())


def of_abandoned(parent_id: str, keys: Collection[str]) -> list[str]:
    """Return the children of abandoned steps that have still to be cancelled."""
    found = _runs().to_cancel_with(parent_id).filter(parent_step__in=keys).order_by("pk")
    return list(found.values_list("pk", flat=True))


def no_orphans(parent_id: str, keys: Collection[str]) -> None:
    """Take the mark from abandoned steps whose children are being cancelled."""
    Step.objects.using(settings().DATABASE).filter(
        run_id=parent_id, key__in=keys, status=StepStatus.ABANDONED
    ).update(delivered=False)
