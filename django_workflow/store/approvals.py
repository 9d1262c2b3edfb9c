"""Approvals: written with the step that waits, decided or timed out once.

What is kept here: (1) a decision and a timeout fill the same column by a conditional UPDATE, so one of the two finds it
filled; (2) a decision is that UPDATE and an event for the run, in the caller's transaction, so that it is seen when it is
committed and not before; (3) a timeout locks the approval before the turn, as a decider does who then does something
to the run.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import transaction

from django_workflow.at_rest.vault import kept, sealed
from django_workflow.conf import settings
from django_workflow.models import Approval, Event
from django_workflow.store import events
from django_workflow.store.claims import now as database_now
from django_workflow.store.repeating import repeated
from django_workflow.store.rows import Claim, Recorded, StepRow
from django_workflow.store.sql import connection, dialect

#: A decision is kept for its run as long as there is the run.
KEPT: Final = timedelta(days=36_500)
#: Who has taken a mail that nobody sends now.
NOBODY: Final = ""


class ClosedError(Exception):
    """Ends the transaction of a decision that comes too late."""


@repeated
def decide(approval: Approval, event_text: Callable[[datetime], str], **decided: Any) -> Event:
    """Fill an approval in and send the event that ends the wait, in the caller's transaction.

    Raises:
        ClosedError: it was decided, its time is over, or its run waits no more; nothing was written.
    """
    alias = settings().DATABASE
    with transaction.atomic(using=alias):
        # The run first, then the approval: so does who deletes a run.
        with connection().cursor() as cursor:
            if not dialect().keep_run(cursor, str(approval.run_id)):
                raise ClosedError
        moment = database_now()
        event = Event.objects.using(alias).create(
            event_id=approval.event_id,
            run_id=approval.run_id,
            data_text=kept(event_text(moment)),
            created_at=moment,
            expires_at=moment + KEPT,
        )
        decided["data_text"] = sealed(decided.get("data_text"))
        if not still_open(approval, moment).update(decided_at=moment, next_mail_at=None, **decided):
            raise ClosedError
    return event


@repeated
def still_open(approval: Approval, moment: datetime) -> Any:
    """Return the approval if it can be decided, for the statement that changes it."""
    rows = Approval.objects.using(settings().DATABASE)
    still = rows.open().filter(pk=approval.pk, due_at__gt=moment)
    if connection().vendor != "mysql":
        return still
    # There an UPDATE locks the step that it asks about, too, and comes to the row by the index of what is open.
    lock_by_key(rows.filter(pk=approval.pk))
    return rows.filter(pk=approval.pk) if still.exists() else rows.none()


def lock_by_key(rows: Any) -> None:
    """Lock approvals by their primary key, before an index is asked: the order of all who change them on MariaDB."""
    for pk in list(rows.values_list("pk", flat=True)):
        found = Approval.objects.using(settings().DATABASE).filter(pk=pk)
        list(found.select_for_update().values_list("pk"))


def time_out(claim: Claim, row: StepRow) -> tuple[Recorded, str] | None:
    """Record that nobody has decided in time; None if somebody has.

    Raises:
        DeliveryFencedError: the claim is stale; nothing was written.
    """
    alias = settings().DATABASE
    with transaction.atomic(using=alias):
        of_step = Approval.objects.using(alias).filter(run_id=claim.run_id, step_key=row.key)
        if connection().vendor == "mysql":
            lock_by_key(of_step)
        undecided = of_step.filter(decision="")
        if not undecided.update(
            decision=Approval.Decision.TIMED_OUT, decided_at=database_now(), next_mail_at=None
        ):
            return None
        done = events.time_out(claim, row)
        if done is None:
            transaction.set_rollback(True, using=alias)
        return done


# Mails


def mails_due(limit: int, only: Collection[str] | None = None) -> list[Approval]:
    """Return the approvals for which a mail is to be sent, the longest due first; ``only`` of these runs."""
    found = Approval.objects.using(settings().DATABASE).mail_due(database_now())
    if only is not None:
        found = found.filter(run_id__in=only)
    return list(found.select_related("run")[:limit])


def is_mail_due() -> bool:
    """Tell whether there is any mail to send."""
    return Approval.objects.using(settings().DATABASE).mail_due(database_now()).exists()


def take_mail(approval: Approval, again_in: timedelta, *, by: str) -> bool:
    """Win the right to send an approval's mail; if this process dies meanwhile, another one sends it after a while."""
    later = database_now() + again_in
    taken = Approval.objects.using(settings().DATABASE).filter(
        pk=approval.pk, decision="", next_mail_at=approval.next_mail_at
    )
    if not taken.update(next_mail_at=later, mail_taken_by=by):
        return False
    approval.next_mail_at = later
    return True


def mailed(approval: Approval, *, is_sent: bool = True) -> None:
    """Note that the mail was sent, or that there is none to send, and when the next one is due."""
    Approval.objects.using(settings().DATABASE).filter(
        pk=approval.pk, decision="", next_mail_at=approval.next_mail_at
    ).update(
        mails=approval.mails + is_sent,
        next_mail_at=approval.reminder_after(database_now()) if is_sent else None,
        mail_taken_by=NOBODY,
    )


def release_mails(prefix: str, is_alive: Callable[[str], bool]) -> None:
    """Make due the mails that dead processes of this machine had taken, named ``prefix`` + process id."""
    rows = Approval.objects.using(settings().DATABASE)
    taken = rows.filter(mail_taken_by__startswith=prefix, decision="")
    for approval in taken.only("pk", "next_mail_at", "mail_taken_by"):
        if not is_alive(approval.mail_taken_by):
            rows.filter(pk=approval.pk, next_mail_at=approval.next_mail_at).update(
                next_mail_at=database_now(), mail_taken_by=NOBODY
            )
