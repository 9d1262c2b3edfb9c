"""Notes about the errors of dead letters."""

from __future__ import annotations

from typing import Any

from django_workflow.conf import settings
from django_workflow.models import DeadLetterNote
from django_workflow.store.claims import now as database_now
from django_workflow.store.sql import connection, dialect

NOTE = DeadLetterNote._meta.db_table


def locked(fingerprint: str) -> DeadLetterNote:
    """Return the note about an error, made if there is none, under its lock; within the caller's transaction."""
    alias = settings().DATABASE
    speak = dialect()
    columns = ("fingerprint", "note", "assignee", "is_ignored", "changed_by", "changed_at")
    with connection().cursor() as cursor:
        cursor.execute(
            speak.insert_lock(NOTE, columns, "%s, '', '', %s, '', %s", "fingerprint"),
            (fingerprint, False, speak.literal(database_now())),
        )
    notes = DeadLetterNote.objects.using(alias)
    return notes.select_for_update().get(pk=fingerprint)


def change(fingerprint: str, **changes: Any) -> None:
    """Change what is noted about an error."""
    DeadLetterNote.objects.using(settings().DATABASE).filter(pk=fingerprint).update(
        changed_at=database_now(), **changes
    )
