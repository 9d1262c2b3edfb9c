"""A journal up to a step: copied into a new run, or left in its own, with what came after it put aside.

A journal is cut by sequence numbers. They are committed in their order, so what stands before any one of them is a
journal that the run once had, and the function goes on from it as it did then.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from django.db.models import F, Max, Q, Value
from django.db.models.functions import Concat

from django_workflow.conf import settings
from django_workflow.core.singleton_lines import RUN_ITSELF
from django_workflow.core.steps import KEY_LENGTH
from django_workflow.core.types import DEAD_LETTER, RunStatus, StepKind, StepStatus
from django_workflow.core.undo import AT_WORK
from django_workflow.models import (
    Approval,
    Attempt,
    Call,
    Delivery,
    FlowTicket,
    MapItem,
    Run,
    Step,
    StepFields,
    Waiter,
    Webhook,
)
from django_workflow.store import deliveries
from django_workflow.store.claims import now as database_now
from django_workflow.store.rows import STEP
from django_workflow.store.runs import lock
from django_workflow.store.sql import connection, dialect

ATTEMPT = Attempt._meta.db_table
COLUMNS = tuple(str(field.column) for field in StepFields._meta.local_fields)
CHUNK = 500
#: Steps of the failure handler and of the undo: no part of the function's journal.
BESIDE = Q(branch__startswith="failure.") | Q(branch__startswith="undo.")
BESIDE_SQL = "branch NOT LIKE 'failure.%%' AND branch NOT LIKE 'undo.%%'"


def _steps(run_id: str) -> Any:
    return Step.objects.using(settings().DATABASE).filter(run_id=run_id)


def copy_journal(
    run_id: str, new_id: str, *, before: int | None, results: Mapping[str, str]
) -> int:
    """Give a new run the records of another one before a sequence number, or all; return how many.

    ``results`` replaces those of some of them. In the transaction that inserts the new run, whose turn goes on
    counting where the copy ends.
    """
    columns = dialect().columns(COLUMNS)
    limit, values = ("", ()) if before is None else (" AND sequence < %s", (before,))
    with connection().cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {STEP} (run_id, {columns}) SELECT %s, {columns} FROM {STEP} "
            f"WHERE run_id = %s AND sequence IS NOT NULL AND {BESIDE_SQL}{limit} ORDER BY id",
            (new_id, run_id, *values),
        )
    copied = _steps(new_id)
    copied.filter(delivered=True).update(delivered=False)
    for key, text in results.items():
        copied.filter(key=key).update(
            status=StepStatus.COMPLETED, result_text=text, failure_text=None
        )
    highest = copied.aggregate(found=Max("sequence"))["found"]
    if highest is not None:
        turn = Delivery.objects.using(settings().DATABASE).filter(run_id=new_id, step_key="")
        turn.update(wakes=highest)
    return int(copied.count())


class Replaced(NamedTuple):
    """What became of an edit."""

    #: What the step said before.
    status: str
    result_text: str | None
    failure_text: str | None
    #: The steps that were put aside, in their order.
    put_aside: list[str]


class NotNowError(Exception):
    """Raised where a result cannot be edited now; its text says why."""


def replace_result(run_id: str, key: str, result_text: str) -> Replaced | None:
    """Put a result in the place of a recorded one, and put aside what the run did after it, in the caller's transaction.

    What is put aside is kept as an attempt of its step. Returns None where the run is in no state for it, or has no
    such record.

    Raises:
        NotNowError: something of the run is in flight, or a run that it has started after this step has not ended.
    """
    alias = settings().DATABASE
    lock(run_id)
    run = (
        Run.objects.using(alias)
        .filter(pk=run_id, status__in=[RunStatus.PAUSED, *DEAD_LETTER])
        .exclude(handler_status=RunStatus.RUNNING)
        .exclude(undo_status__in=AT_WORK)
    )
    step = _steps(run_id).filter(key=key, sequence__isnull=False).exclude(BESIDE).first()
    if step is None or not run.exists():
        return None
    later = _steps(run_id).exclude(BESIDE).filter(Q(sequence=None) | Q(sequence__gt=step.sequence))
    keys = list(later.order_by("id").values_list("key", flat=True))
    _refuse_what_is_alive(run_id, keys)
    _end_what_is_due(run_id)
    _keep_as_attempts(run_id, key, step.sequence)
    _put_rows_aside(run_id, keys)
    for start in range(0, len(keys), CHUNK):
        _steps(run_id).filter(key__in=keys[start : start + CHUNK]).delete()
    _steps(run_id).filter(pk=step.pk).update(
        status=StepStatus.COMPLETED, result_text=result_text, failure_text=None
    )
    # A journal that a process keeps is of an earlier revision now.
    run.update(revision=F("revision") + 1, code_attempts=0, progress_after=None, state_after=None)
    # A resume opens nothing of what is gone, and goes on with no child of it.
    run.filter(failed_step__in=[key, *keys]).update(failed_step="")
    return Replaced(step.status, step.result_text, step.failure_text, keys)


def _refuse_what_is_alive(run_id: str, keys: list[str]) -> None:
    alias = settings().DATABASE
    due = Delivery.objects.using(alias).filter(run_id=run_id)
    held = due.exclude(leased_by="").filter(due_at__gt=database_now()).first()
    if held is not None:
        what = f'Step "{held.step_key}"' if held.step_key else "A pass"
        raise NotNowError(
            f"{what} is still in flight (until {held.due_at:%H:%M:%S} UTC at most). Try again when it has ended."
        )
    known = set(keys)
    for child in Run.objects.using(alias).to_cancel_with(run_id).order_by("pk"):
        if child.parent_step in known:
            raise NotNowError(
                f'Run "{child.pk}", which it has started after that step, is {child.status}. Cancel it first.'
            )


def _end_what_is_due(run_id: str) -> None:
    """Fence whoever worked under a lease that is over: what it still brings is set aside."""
    due = deliveries.of_run(run_id)
    due.exclude(step_key="").delete()
    due.update(
        leased_by="",
        token=F("token") + 1,
        entries=0,
        wakes=F("wakes") + 1,
        begun="",
        tries=0,
        deaths=0,
        trouble="",
    )


def _keep_as_attempts(run_id: str, key: str, sequence: int) -> None:
    """Keep the record that is edited, and those after it, as attempts."""
    name = dialect().name("key")
    now, values = dialect().now()
    with connection().cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {ATTEMPT} (run_id, step_key, number, outcome, failure_text, result_text, started_at, "
            f"finished_at, worker) SELECT run_id, {name}, attempts, %s, failure_text, result_text, started_at, "
            f"COALESCE(finished_at, {now}), worker FROM {STEP} WHERE run_id = %s AND (sequence > %s OR {name} = %s) "
            f"AND {BESIDE_SQL} ORDER BY sequence",
            (Attempt.Outcome.PUT_ASIDE, *values, run_id, sequence, key),
        )


def _put_rows_aside(run_id: str, keys: list[str]) -> None:
    """End what belongs to steps that will be asked for anew under the same keys."""
    alias = settings().DATABASE
    known = set(keys)
    # What a person has decided, or somebody has called, stays to be read: under a key that no step has.
    mark = f"/put aside {database_now():%Y%m%d%H%M%S%f}/"
    for model in (Approval, Webhook):
        rows = model.objects.using(alias).filter(run_id=run_id)
        found = [pk for pk, key in rows.values_list("pk", "step_key") if key in known]
        room = KEY_LENGTH - len(mark)
        long = [row for row in rows.filter(pk__in=found) if len(row.step_key) > room]
        for row in long:
            rows.filter(pk=row.pk).update(step_key=mark + row.step_key[:room])
        rows.filter(pk__in=found).exclude(pk__in=[row.pk for row in long]).update(
            step_key=Concat(Value(mark), F("step_key"))
        )
    Approval.objects.using(alias).filter(
        run_id=run_id, step_key__startswith=mark, decision=""
    ).update(next_mail_at=None)
    for start in range(0, len(keys), CHUNK):
        of_steps = {"run_id": run_id, "step_key__in": keys[start : start + CHUNK]}
        for rows_of in (MapItem, Call, Waiter):
            rows_of.objects.using(alias).filter(**of_steps).delete()
    of_run = FlowTicket.objects.using(alias).filter(run_id=run_id)
    of_run.exclude(step_key__in=("", RUN_ITSELF)).delete()


def has_webhook(run_id: str, before: int | None) -> str | None:
    """Return the name of a step before a sequence number that made a URL of the run's own, or None."""
    found = _steps(run_id).filter(kind=StepKind.CREATE_WEBHOOK, sequence__isnull=False)
    if before is not None:
        found = found.filter(sequence__lt=before)
    name: str | None = found.order_by("sequence").values_list("name", flat=True).first()
    return name
