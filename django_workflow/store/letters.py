"""Notes about the errors of dead letters."""

from __future__ import annotations

from typing import Any

from django_workflow.conf import settings
from django_workflow.models import DeadLetterNote
from django_workflow.store.claims import now as database_now


def locked(fingerprint: str) -> DeadLetterNote:
    """Return the note about an error, made if there is none, under its lock; within the caller's transaction."""
    alias = settings().DATABASE
    DeadLetterNote.objects.using(alias).bulk_create(
        [DeadLetterNote(fingerprint=fingerprint, changed_at=database_now())], ignore_conflicts=True
    )
    return DeadLetterNote.objects.using(alias).select_for_update().get(pk=fingerprint)


def change(fingerprint: str, **changes: Any) -> None:
    """Change what is noted about an error."""
    DeadLetterNote.objects.using(settings().DATABASE).filter(pk=fingerprint).update(
        changed_at=database_now(), **changes
    )
