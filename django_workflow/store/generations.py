"""Generations: a run that continues as new leaves its journal behind, and begins an empty one under the same id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django.db import transaction
from django.db.models import F, Value
from django.db.models.functions import Concat

from django_workflow.at_rest.vault import kept
from django_workflow.conf import settings
from django_workflow.core.generations import past_key, past_prefix
from django_workflow.core.steps import KEY_LENGTH
from django_workflow.core.types import RunStatus, StepKind
from django_workflow.models import (
    Approval,
    Attempt,
    Call,
    Generation,
    MapItem,
    PastStep,
    Run,
    Step,
    StepFields,
    Webhook,
)
from django_workflow.store import undos
from django_workflow.store.claims import now as database_now
from django_workflow.store.repeating import repeated
from django_workflow.store.rows import STEP, Claim
from django_workflow.store.runs import end_claim, wake
from django_workflow.store.sql import connection, dialect

PAST = PastStep._meta.db_table
#: What belongs to a step of these kinds, and is found by its run and key.
ROWS: Final[Mapping[str, Any]] = {
    StepKind.CALL: Call,
    StepKind.MAP: MapItem,
    StepKind.CREATE_WEBHOOK: Webhook,
    StepKind.WAIT_FOR_APPROVAL: Approval,
}
CHUNK: Final = 500
COLUMNS = tuple(str(field.column) for field in StepFields._meta.local_fields)


@repeated
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
                payload_text=kept(payload_text),
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
    _put_rows_aside(run_id, past.number)
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


def _put_rows_aside(run_id: str, generation: int) -> None:
    """Give what belongs to steps the keys of a generation that is over: the next one asks under the same names."""
    alias = settings().DATABASE
    found = Step.objects.using(alias).filter(run_id=run_id, kind__in=[*ROWS, StepKind.INVOKE])
    of_kind: dict[str, list[str]] = {}
    for kind, key in found.values_list("kind", "key"):
        of_kind.setdefault(kind, []).append(key)
    for kind, keys in of_kind.items():
        if kind == StepKind.INVOKE:
            invoked = Run.objects.using(alias).filter(parent=run_id)
            # In the order in which who deletes runs locks them.
            list(invoked.order_by("pk").select_for_update().values_list("pk"))
            _move(invoked, "parent_step", keys, generation)
        else:
            _move(ROWS[kind].objects.using(alias).filter(run=run_id), "step_key", keys, generation)


def _move(rows: Any, column: str, keys: list[str], generation: int) -> None:
    prefix = past_prefix(generation)
    short = [key for key in keys if len(prefix) + len(key) <= KEY_LENGTH]
    for start in range(0, len(short), CHUNK):
        chosen = rows.filter(**{f"{column}__in": short[start : start + CHUNK]})
        chosen.update(**{column: Concat(Value(prefix), F(column))})
    for key in keys:
        if len(prefix) + len(key) > KEY_LENGTH:
            rows.filter(**{column: key}).update(**{column: past_key(generation, key)})
