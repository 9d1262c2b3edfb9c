"""Triggers: runs inserted in the caller's transaction, each with its turn; an id that is taken is skipped."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db import transaction

from django_workflow.at_rest.vault import kept, sealed
from django_workflow.conf import settings
from django_workflow.core.actors import NOBODY, Actor
from django_workflow.core.types import RunStatus
from django_workflow.models import Delivery, Run, RunLabel
from django_workflow.store import flow_lines, singleton_lines
from django_workflow.store.claims import now as database_now
from django_workflow.store.flow_lines import NewTicket
from django_workflow.store.repeating import repeated
from django_workflow.store.rows import DELIVERY, RUN
from django_workflow.store.singleton_lines import QueuedRun
from django_workflow.store.sql import Postgres, connection, dialect

INSERT_COLUMNS = (
    "id", "workflow", "version", "status", "payload_text", "headers_text", "options_text", "failed_step", "revision",
    "code_attempts", "code_failed_at", "paused_from", "handler_status", "handler_round", "restarted_from_id",
    "created_at", "deadline", "about_type", "about_id", "triggered_by", "triggered_by_id",
    "parent_id", "parent_step", "parent_waits", "cascade", "depth",
)  # fmt: skip
TURN_COLUMNS = (
    "run_id, step_key, due_at, leased_by, token, entries, wakes, tries, begun, deaths, trouble"
)
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
    #: The line of a queueing singleton in which the run waits to begin, whatever flow control its steps have.
    singleton_line: str | None = None

    @property
    def lines_up(self) -> bool:
        """Whether it stands in line from the start, rather than when its time comes."""
        is_alone = self.flow_key is not None and self.singleton_line is None
        return is_alone and not self.delay and self.not_before is None

    @property
    def is_woken(self) -> bool:
        """Whether somebody else makes it due: whoever lets it begin."""
        return self.lines_up or self.singleton_line is not None


@repeated
def insert(runs: Sequence[NewRun]) -> dict[str, datetime]:
    """Insert runs, each with its turn and labels, in the caller's transaction; skip ids that are taken.

    Returns when each inserted run was created, by id. One round trip per hundred on PostgreSQL.
    """
    if isinstance(dialect(), Postgres) and _is_one_statement(runs):
        return _insert_in_one(runs)
    created: dict[str, datetime] = {}
    with transaction.atomic(using=settings().DATABASE, savepoint=False):
        for start in range(0, len(runs), CHUNK):
            created.update(_insert_chunk(runs[start : start + CHUNK]))
    return created


def _is_one_statement(runs: Sequence[NewRun]) -> bool:
    return 0 < len(runs) <= CHUNK and not any(run.labels or run.is_woken for run in runs)


def _insert_chunk(runs: Sequence[NewRun]) -> dict[str, datetime]:
    created = (
        _insert_in_one(runs) if isinstance(dialect(), Postgres) else _insert_one_after_other(runs)
    )
    if not created:
        return created
    moment = max(created.values())
    _line_up([run for run in runs if run.lines_up and run.id in created], moment)
    _queue([run for run in runs if run.singleton_line and run.id in created], moment)
    labels = [
        RunLabel(run_id=run.id, label=label)
        for run in runs
        if run.id in created
        for label in run.labels
    ]
    if labels:
        RunLabel.objects.using(settings().DATABASE).bulk_create(labels, ignore_conflicts=True)
    return created


def _insert_one_after_other(runs: Sequence[NewRun]) -> dict[str, datetime]:
    """Ask for the time, insert the runs, then their turns."""
    moment = database_now()
    dues: dict[str, datetime | None] = {}
    for run in runs:
        due = max(run.not_before, moment) if run.not_before is not None else moment + run.delay
        if run.is_woken:
            # Not due: whoever gives it a slot wakes it. In ten thousand that wait, no worker looks.
            dues.setdefault(run.id, None if run.ttl is None else moment + run.ttl)
        dues.setdefault(run.id, due)
    inserted = _insert_runs(runs, moment)
    _insert_turns([(run_id, dues[run_id]) for run_id in inserted])
    return dict.fromkeys(inserted, moment)


def _insert_in_one(runs: Sequence[NewRun]) -> dict[str, datetime]:
    """Insert runs and turns by one statement, at the database's own time."""
    speak = dialect()
    now, now_values = speak.now()
    rows: list[str] = []
    params: list[Any] = []
    for run in runs:
        deadline, values = ("NULL", ()) if run.timeout is None else speak.now(run.timeout)
        before, after = _columns_of(run)
        marks = ", ".join(["%s"] * len(before))
        rows.append(f"({marks}, {now}, {deadline}, {', '.join(['%s'] * len(after))})")
        params += [*before, *now_values, *values, *after]
    turns: list[str] = []
    first = {run.id: run for run in reversed(runs)}
    for place, run_id in enumerate(dict.fromkeys(run.id for run in runs)):
        due, values = _due(first[run_id])
        turns.append(f"({place}, %s, CAST({due} AS timestamptz))")
        params += [run_id, *values]
    with connection().cursor() as cursor:
        cursor.execute(
            f"WITH r AS (INSERT INTO {RUN} ({speak.columns(INSERT_COLUMNS)}) VALUES {', '.join(rows)} "
            f"ON CONFLICT DO NOTHING RETURNING id, created_at), "
            f"d AS (INSERT INTO {DELIVERY} ({TURN_COLUMNS}) SELECT r.id, '', v.due_at, '', 0, 0, 0, 0, '', 0, '' "
            f"FROM (VALUES {', '.join(turns)}) AS v (place, id, due_at) JOIN r ON r.id = v.id ORDER BY v.place) "
            "SELECT id, created_at FROM r",
            params,
        )
        return dict(cursor.fetchall())


def _due(run: NewRun) -> tuple[str, tuple[Any, ...]]:
    """Return the expression for the moment from which the turn of a run may be claimed."""
    speak = dialect()
    if run.is_woken:
        # Not due: whoever gives it a slot wakes it. In ten thousand that wait, no worker looks.
        return ("NULL", ()) if run.ttl is None else speak.now(run.ttl)
    if run.not_before is None:
        return speak.now(run.delay)
    now, values = speak.now()
    return f"GREATEST(CAST(%s AS timestamptz), {now})", (speak.literal(run.not_before), *values)


def _columns_of(run: NewRun) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Return the values of a row before and after its times."""
    before = (
        run.id, run.workflow, run.version, RunStatus.PENDING, kept(run.payload_text), sealed(run.headers_text), run.options_text,
        "", 0, 0, -1, "", "", 0, run.restarted_from,
    )  # fmt: skip
    after = (
        *run.about, run.by.name, run.by.user_id,
        run.parent, run.parent_step, run.parent is not None, run.cascade, run.depth,
    )  # fmt: skip
    return before, after


def _insert_runs(runs: Sequence[NewRun], moment: datetime) -> list[str]:
    speak = dialect()
    params: list[Any] = []
    for run in runs:
        before, after = _columns_of(run)
        deadline = None if run.timeout is None else moment + run.timeout
        params += [*before, speak.literal(moment), speak.literal(deadline), *after]
    one = f"({', '.join(['%s'] * len(INSERT_COLUMNS))})"
    statement = f"{speak.ignore} {RUN} ({speak.columns(INSERT_COLUMNS)}) VALUES {', '.join([one] * len(runs))}{speak.ignore_tail}"
    ids = [run.id for run in runs]
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


def _turns_of(run_ids: Collection[str]) -> dict[str, int]:
    turns = Delivery.objects.using(settings().DATABASE).filter(run_id__in=run_ids, step_key="")
    return dict(turns.values_list("run_id", "pk"))


def _queue(runs: Sequence[NewRun], moment: datetime) -> None:
    if not runs:
        return
    turns = _turns_of({run.id for run in runs})
    own = {run.id: run for run in reversed(runs)}
    singleton_lines.line_up(
        [
            QueuedRun(
                run_id=run_id,
                turn=turns[run_id],
                line=own[run_id].singleton_line or "",
                priority=own[run_id].priority,
                not_before=own[run_id].not_before or moment + own[run_id].delay,
            )
            for run_id in dict.fromkeys(run.id for run in runs)
        ],
        moment,
    )


def _line_up(runs: Sequence[NewRun], moment: datetime) -> None:
    if not runs:
        return
    fresh = {run.id: NewTicket(run.id, run.flow_key or "", run.priority) for run in reversed(runs)}
    turns = _turns_of(fresh)
    order = dict.fromkeys(run.id for run in runs)
    flow_lines.line_up_to_begin([(turns[run_id], fresh[run_id]) for run_id in order], moment)


def _insert_turns(turns: Sequence[tuple[str, datetime | None]]) -> None:
    if not turns:
        return
    speak = dialect()
    one = "(%s, '', %s, '', 0, 0, 0, 0, '', 0, '')"
    with connection().cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {DELIVERY} ({TURN_COLUMNS}) VALUES {', '.join([one] * len(turns))}",
            [value for run_id, due in turns for value in (run_id, speak.literal(due))],
        )
