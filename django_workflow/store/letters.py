"""Notes about the errors of dead letters."""

from __future__ import annotations

from typing import Any

from django_workflow.conf import settings
from django_workflow.models import DeadLetterNote
from django_workflow.store.claims import now as database_now
from django_workflow.store.sql import connection


def locked(fingerprint: str) -> DeadLetterNote:
    """Return the note about an error, made if there is none, under its lock; within the caller's transaction."""
    alias = settings().DATABASE
    notes = DeadLetterNote.objects.using(alias)
    # Where it is there, an insertion shares a lock on it on MariaDB, and two who do so wait for each other.
    if connection().vendor != "mysql" or not notes.filter(pk=fingerprint).exists():
        new = DeadLetterNote(fingerprint=fingerprint, changed_at=database_now())
        notes.bulk_create([new], ignore_conflicts=True)
    return notes.select_for_update().get(pk=fingerprint)


def change(fingerprint: str, **changes: Any) -> None:
    """Change what is noted about an error."""
    DeadLetterNote.objects.using(settings().DATABASE).filter(pk=fingerprint).update(
        changed_at=database_now(), **changes
    )
