"""What people and programs did to runs, written in the transaction in which they did it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from django.db.models import Exists, OuterRef

from django_workflow.at_rest.vault import sealed
from django_workflow.conf import settings
from django_workflow.core.actors import Actor
from django_workflow.models import Action, Run
from django_workflow.models.actions import SUBJECT_LENGTH
from django_workflow.store.claims import now as database_now
from django_workflow.store.repeating import repeated


class Change(NamedTuple):
    """What became of one run."""

    run_id: str
    before: str
    after: str


def keep(
    verb: str,
    changes: Iterable[Change],
    *,
    by: Actor,
    why: str = "",
    subject: str = "",
    details_text: str = "",
) -> None:
    """Write an action for each run that was changed, or one about something else, the ``subject``."""
    moment = database_now()
    rows = [
        Action(
            verb=verb,
            subject=subject[:SUBJECT_LENGTH],
            run_id=change.run_id,
            before=change.before,
            after=change.after,
            actor=by.name,
            user_id=by.user_id,
            door=by.door,
            why=why,
            details_text=sealed(details_text),
            at=moment,
        )
        for change in changes
    ]
    Action.objects.using(settings().DATABASE).bulk_create(rows, batch_size=500)


@repeated
def delete_orphans(before: datetime, limit: int) -> int:
    """Delete the oldest actions from before a moment whose runs are gone; return how many."""
    alias = settings().DATABASE
    old = Action.objects.using(alias).filter(at__lt=before)
    gone = old.filter(~Exists(Run.objects.using(alias).filter(pk=OuterRef("run_id"))))
    ids = list(gone.order_by("at", "id").values_list("pk", flat=True)[:limit])
    return Action.objects.using(alias).filter(pk__in=ids).delete()[0] if ids else 0
