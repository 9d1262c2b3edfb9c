"""Triggers: runs inserted in the caller's transaction, each with its turn; an id that is taken is skipped."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db import transaction

from django_workflow.conf import settings
from django_workflow.core.actors import NOBODY, Actor
from django_workflow.core.types import RunStatus
from django_workflow.models import Delivery, Run, RunLabel
from django_workflow.store import flow_lines
from django_workflow.store.claims import now as database_now
from django_workflow.store.flow_lines import NewTicket
from django_workflow.store.rows import DELIVERY, RUN
from django_workflow.store.sql import connection, dialect

INSERT_COLUMNS = (
    "id", "workflow", "version", "status", "payload_text", "headers_text", "options_text", "failed_step", "revision",
    "code_attempts", "code_failed_at", "paused_from", "handler_status", "handler_round", "restarted_from_id",
    "created_at", "deadline", "about_type", "about_id", "triggered_by", "triggered_by_id",
    "parent_id", "parent_step", "parent_waits", "cascade", "depth",
)  # fmt: skip
CHUNK = 100


class NewRun(NamedTuple):
    """A run to be inserted."""

    id: str
    workflow: str
    version: str
    payload_text: str | None
    headers_text: str
    options_text: str
    labels: tuple[str, ...]
    delay: timedelta
    not_before: datetime | None
    timeout: timedelta | None
    restarted_from: str | None = None
    about: tuple[str | None, str | None] = (None, None)
    by: Actor = NOBODY
    #: The run that invokes it, and the key of its step.
    parent: str | None = None
    parent_step: str = ""
    cascade: bool = True
    depth: int = 0
    #: The flow control in whose line the run waits to begin, and its priority there.
    flow_key: str | None = None
    priority: int = 0
    #: How long after its trigger it may begin.
    ttl: timedelta | None = None

    @property
    def lines_up(self) -> bool:
        """Whether it stands in line from the start, rather than when its time comes."""
        return self.flow_key is not None and not self.delay and self.not_before is None


def insert(runs: Sequence[NewRun]) -> dict[str, datetime]:
    """Insert runs, each with its turn and labels, in the caller's transaction; skip ids that are taken.

    Returns when each inserted run was created, by id. One round trip per hundred on PostgreSQL.
    """
    created: dict[str, datetime] = {}
    with transaction.atomic(using=settings().DATABASE, savepoint=False):
        for start in range(0, len(runs), CHUNK):
            created.update(_insert_chunk(runs[start : start + CHUNK]))
    return created


def _insert_chunk(runs: Sequence[NewRun]) -> dict[str, datetime]:
    moment = database_now()
    rows: list[tuple[NewRun, datetime | None]] = []
    dues: dict[str, datetime | None] = {}
    for run in runs:
        due = max(run.not_before, moment) if run.not_before is not None else moment + run.delay
        if run.lines_up:
            # Not due: whoever gives it a slot wakes it. In ten thousand that wait, no worker looks.
            dues.setdefault(run.id, None if run.ttl is None else moment + run.ttl)
        dues.setdefault(run.id, due)
        deadline = None if run.timeout is None else moment + run.timeout
        rows.append((run, deadline))
    inserted = _insert_runs(rows, moment)
    _insert_turns([(run_id, dues[run_id]) for run_id in inserted])
    _line_up([run for run in runs if run.lines_up and run.id in inserted], moment)
    labels = [
        RunLabel(run_id=run.id, label=label)
        for run in runs
        if run.id in inserted
        for label in run.labels
    ]
    if labels:
        RunLabel.objects.using(settings().DATABASE).bulk_create(labels, ignore_conflicts=True)
    return dict.fromkeys(inserted, moment)


def _insert_runs(rows: Sequence[tuple[NewRun, datetime | None]], moment: datetime) -> list[str]:
    speak = dialect()
    params: list[Any] = []
    for run, deadline in rows:
        params.extend(
            (
                run.id, run.workflow, run.version, RunStatus.PENDING, run.payload_text, run.headers_text, run.options_text,
                "", 0, 0, -1, "", "", 0, run.restarted_from, speak.literal(moment), speak.literal(deadline),
                *run.about, run.by.name, run.by.user_id,
                run.parent, run.parent_step, run.parent is not None, run.cascade, run.depth,
            )
        )  # fmt: skip
    one = f"({', '.join(['%s'] * len(INSERT_COLUMNS))})"
    statement = f"{speak.ignore} {RUN} ({', '.join(INSERT_COLUMNS)}) VALUES {', '.join([one] * len(rows))}{speak.ignore_tail}"
    ids = [run.id for run, _ in rows]
    with connection().cursor() as cursor:
        if connection().vendor == "mysql":
            return _insert_one_by_one(cursor, statement, ids, params)
        cursor.execute(f"{statement} RETURNING id", params)
        inserted = {row[0] for row in cursor.fetchall()}
    return [run_id for run_id in dict.fromkeys(ids) if run_id in inserted]


def _insert_one_by_one(
    cursor: Any, statement: str, ids: Sequence[str], params: Sequence[Any]
) -> list[str]:
    # MariaDB says how many rows were inserted, not which.
    cursor.execute(statement, params)
    if cursor.rowcount == len(ids):
        return list(ids)
    with_turn = set(
        Delivery.objects.using(settings().DATABASE)
        .filter(run_id__in=ids, step_key="")
        .values_list("run_id", flat=True)
    )
    started = set(
        Run.objects.using(settings().DATABASE)
        .filter(id__in=ids)
        .exclude(status=RunStatus.PENDING)
        .values_list("id", flat=True)
    )
    return [
        run_id for run_id in dict.fromkeys(ids) if run_id not in with_turn and run_id not in started
    ]


def _line_up(runs: Sequence[NewRun], moment: datetime) -> None:
    if not runs:
        return
    fresh = {run.id: NewTicket(run.id, run.flow_key or "", run.priority) for run in reversed(runs)}
    turns = dict(
        Delivery.objects.using(settings().DATABASE)
        .filter(run_id__in=fresh, step_key="")
        .values_list("run_id", "pk")
    )
    order = dict.fromkeys(run.id for run in runs)
    flow_lines.line_up_to_begin([(turns[run_id], fresh[run_id]) for run_id in order], moment)


def _insert_turns(turns: Sequence[tuple[str, datetime | None]]) -> None:
    if not turns:
        return
    speak = dialect()
    one = "(%s, '', %s, '', 0, 0, 0, 0, '', 0, '')"
    with connection().cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {DELIVERY} (run_id, step_key, due_at, leased_by, token, entries, wakes, tries, begun, deaths, trouble) "
            f"VALUES {', '.join([one] * len(turns))}",
            [value for run_id, due in turns for value in (run_id, speak.literal(due))],
        )
