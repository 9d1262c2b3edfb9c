"""Races: the winner recorded, and what is open of the losers closed, in one conditional write.

The condition is the wake counter: it is what the deciding pass read before the journal, so that pass has seen every
record there is, and the branch that it found to be the first is the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import transaction

from django_workflow.conf import settings
from django_workflow.core.maps import slice_keys
from django_workflow.core.types import StepKind
from django_workflow.models import Approval, Call, Delivery, FlowTicket, Step, Waiter
from django_workflow.store.claims import now as database_now
from django_workflow.store.records import OPEN, fenced, record
from django_workflow.store.repeating import repeated
from django_workflow.store.rows import DELIVERY, Claim, Recorded, StepRow
from django_workflow.store.sql import connection, dialect


@repeated
def decide(
    claim: Claim,
    row: StepRow,
    lost: Sequence[str],
    *,
    leaves: bool,
    markers: Sequence[StepRow] = (),
) -> tuple[Recorded, list[str]] | None:
    """Record a race and abandon what is open in these branches; return the keys of the steps that were closed.

    With ``leaves``, bodies that have a step delivery stay as they are. Returns None if something was recorded that
    the deciding pass has not seen; nothing was written then.

    Raises:
        DeliveryFencedError: the claim is stale; nothing was written.
    """
    with transaction.atomic(using=settings().DATABASE), connection().cursor() as cursor:
        dialect().lock_deliveries(cursor, claim.run_id)
        cursor.execute(
            f"UPDATE {DELIVERY} SET wakes = wakes WHERE id = %s AND token = %s AND wakes = %s",
            (claim.delivery_id, claim.token, claim.wakes),
        )
        if not cursor.rowcount:
            cursor.execute(
                f"SELECT 1 FROM {DELIVERY} WHERE id = %s AND token = %s",
                (claim.delivery_id, claim.token),
            )
            if cursor.fetchone() is None:
                raise fenced(claim, "The winner of a race")
            return None
        done = record(claim, row, markers=markers)
        found = _open_steps(claim.run_id)
        if leaves:
            found = found.filter(delivered=False)
        closing = [step for step in found if step.branch.startswith(tuple(lost))]
        abandon(claim.run_id, closing)
    return done, [step.key for step in closing]


def abandon(run_id: str, steps: Sequence[Step]) -> None:
    """Close open steps that nobody waits for any more, under the locks of all deliveries.

    An attempt in flight is fenced: its delivery is gone. This is the place for what a kind leaves behind.
    """
    alias = settings().DATABASE
    of_run = Step.objects.using(alias).filter(run_id=run_id)
    for start in range(0, len(steps), 200):
        chunk = steps[start : start + 200]
        keys = [step.key for step in chunk]
        slices = [key for step in chunk if step.kind == StepKind.MAP for key in _slices(step)]
        Delivery.objects.using(alias).filter(run_id=run_id, step_key__in=[*keys, *slices]).delete()
        _open_steps(run_id).filter(key__in=keys).update(
            status="abandoned", finished_at=database_now()
        )
        # Marked: their children are cancelled after this transaction, as none locks two runs; see `children`.
        of_run.filter(key__in=keys, kind=StepKind.INVOKE).update(delivered=True)
        left = {"run_id": run_id, "step_key__in": keys}
        Waiter.objects.using(alias).filter(**left).delete()
        Call.objects.using(alias).filter(**left, is_masked=False).delete()
        Approval.objects.using(alias).filter(**left).update(next_mail_at=None)
        FlowTicket.objects.using(alias).filter(
            run_id=run_id, step_key__in=[*keys, *slices]
        ).delete()


def _slices(step: Step) -> list[str]:
    return slice_keys(step.key, step.arguments["items"], step.arguments["slices"])


def _open_steps(run_id: str) -> Any:
    return Step.objects.using(settings().DATABASE).filter(
        run_id=run_id, status__in=OPEN, sequence=None
    )
