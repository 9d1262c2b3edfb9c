"""What keeps triggers to one run: a row per key, locked in the trigger's own transaction until that ends."""

from __future__ import annotations

from datetime import datetime, timedelta

from django_workflow.at_rest.vault import kept, sealed
from django_workflow.conf import settings
from django_workflow.core.types import RunStatus
from django_workflow.models import Delivery, Run, TriggerKey
from django_workflow.store import runs
from django_workflow.store.claims import now as database_now
from django_workflow.store.sql import connection, dialect
from django_workflow.store.triggers import NewRun

TABLE = TriggerKey._meta.db_table


def locked(kind: str, workflow: str, key: str) -> TriggerKey:
    """Lock the row of a key, in the caller's transaction, and return it; it is made where there is none."""
    found = TriggerKey.objects.using(settings().DATABASE)
    # Again where the row was there, and was deleted as unused before it could be locked.
    while not _locks(kind, workflow, key):
        continue
    return found.get(kind=kind, workflow=workflow, key=key)


def _locks(kind: str, workflow: str, key: str) -> bool:
    speak = dialect()
    gate = f"kind = %s AND workflow = %s AND {speak.name('key')} = %s"
    found = f"SELECT id FROM {TABLE} WHERE {gate}"
    columns = ("kind", "workflow", "key", "run_id")
    with connection().cursor() as cursor:
        if connection().vendor == "mysql":
            # By its own key, as who deletes it: see `sql.MariaDB`.
            cursor.execute(found, (kind, workflow, key))
            row = cursor.fetchone()
            if row is not None:
                cursor.execute(f"SELECT id FROM {TABLE} WHERE id = %s FOR UPDATE", row)
                return cursor.fetchone() is not None
        # A write, because SQLite's transactions must begin with one.
        cursor.execute(
            speak.insert_lock(TABLE, columns, "%s, %s, %s, ''", "id"), (kind, workflow, key)
        )
        if connection().features.has_select_for_update:
            cursor.execute(f"{found} FOR UPDATE", (kind, workflow, key))
            return cursor.fetchone() is not None
    return True


def assign(row: TriggerKey, run_id: str, opened_at: datetime) -> None:
    """Let later triggers be held against this run."""
    TriggerKey.objects.using(settings().DATABASE).filter(pk=row.pk).update(
        run_id=run_id, opened_at=opened_at
    )


def run_of(row: TriggerKey) -> Run | None:
    """Return the run that triggers are held against, if there is one."""
    return Run.objects.using(settings().DATABASE).filter(pk=row.run_id).first()


def unfinished_run_of(row: TriggerKey) -> Run | None:
    """Return the run that triggers are held against, if it has not ended."""
    found = Run.objects.using(settings().DATABASE).filter(pk=row.run_id)
    return found.unfinished_or_paused().first()


def postpone(run_id: str, new: NewRun, until: datetime) -> bool:
    """Give a run that has not begun another payload and a later time. Returns False if its time has come."""
    alias = settings().DATABASE
    runs.lock(run_id)
    # Not the last moment: a claim that is under way may have read the run already.
    waiting = Delivery.objects.using(alias).filter(
        run_id=run_id, step_key="", leased_by="", due_at__gt=database_now()
    )
    pending = Run.objects.using(alias).filter(pk=run_id, status=RunStatus.PENDING)
    if not waiting.exists() or not pending.update(
        payload_text=kept(new.payload_text),
        headers_text=sealed(new.headers_text),
        options_text=new.options_text,
        version=new.version,
    ):
        return False
    waiting.update(due_at=until)
    return True


def now() -> datetime:
    """Return the database's time."""
    return database_now()


def quiet_until(opened_at: datetime, quiet: timedelta, max_wait: timedelta | None) -> datetime:
    """Return when a run begins whose triggers have been quiet from now on, but for the longest wait."""
    until = database_now() + quiet
    return until if max_wait is None else min(until, opened_at + max_wait)
