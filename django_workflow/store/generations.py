"""Generations: a run that continues as new leaves its journal behind, and begins an empty one under the same id."""

from __future__ import annotations

from django.db import transaction
from django.db.models import F

from django_workflow.conf import settings
from django_workflow.core.types import RunStatus
from django_workflow.models import Attempt, Generation, PastStep, Run, StepFields
from django_workflow.store import undos
from django_workflow.store.claims import now as database_now
from django_workflow.store.rows import STEP, Claim
from django_workflow.store.runs import end_claim, wake
from django_workflow.store.sql import connection, dialect

PAST = PastStep._meta.db_table
COLUMNS = tuple(str(field.column) for field in StepFields._meta.local_fields)


def continue_as_new(claim: Claim, payload_text: str | None, version: str) -> bool:
    """Put the journal aside, give the run its new payload and version, and make its turn due at once.

    One transaction, under the turn's lock. Returns False if the claim is stale, or the run was paused meanwhile: then
    its turn is due and stands still by itself, and the journal is as it was.
    """
    alias, run = settings().DATABASE, claim.run
    with transaction.atomic(using=alias):
        if not end_claim(claim):
            return False
        wake(claim.run_id)
        moment = database_now()
        moved = (
            Run.objects.using(alias)
            .filter(pk=claim.run_id, status=RunStatus.RUNNING, generation=run.generation)
            .update(
                payload_text=payload_text,
                version=version,
                generation=run.generation + 1,
                continued_at=moment,
                revision=F("revision") + 1,
                code_attempts=0,
                code_failed_at=-1,
                progress_after=None,
                state_after=None,
            )
        )
        if not moved:
            return False
        past = Generation.objects.using(alias).create(
            run_id=claim.run_id,
            number=run.generation,
            version=run.version,
            payload_text=run.payload_text,
            started_at=run.continued_at or run.started_at,
            finished_at=moment,
        )
        _put_aside(claim.run_id, past)
        undos.forget(claim.run_id)
    return True


def _put_aside(run_id: str, past: Generation) -> None:
    columns = dialect().columns(COLUMNS)
    with connection().cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {PAST} (generation_id, {columns}) SELECT %s, {columns} FROM {STEP} WHERE run_id = %s ORDER BY id",
            (past.pk, run_id),
        )
        cursor.execute(f"DELETE FROM {STEP} WHERE run_id = %s", (run_id,))
    Attempt.objects.using(settings().DATABASE).filter(run_id=run_id, generation=None).update(
        generation=past.number
    )
