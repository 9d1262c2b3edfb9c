"""What is counted for metrics and alerts: each question looks at so many rows at most, however long the history is."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from django_workflow.models import FlowTicket, Waiter
from django_workflow.store.claims import now as database_now
from django_workflow.store.requests import LANE
from django_workflow.store.rows import DELIVERY, RUN, STEP, moment_of
from django_workflow.store.sql import connection, dialect

TICKET: Final = FlowTicket._meta.db_table
WAITER: Final = Waiter._meta.db_table

LANES: Final = ("", LANE)
#: No count looks at more rows: what is above it is "at least so many".
COUNTED: Final = 100_000
#: The steps whose times are looked at: the latest of all runs.
LATEST_STEPS: Final = 2_000
#: The longest lines; more keys than these are left out.
LINES: Final = 50


class Took(NamedTuple):
    """How long the body of a step took."""

    workflow: str
    step: str
    seconds: float


class Queue(NamedTuple):
    """The deliveries at a moment."""

    due: int
    held: int
    scheduled: int
    oldest_due: datetime | None


def _rows(sql: str, values: tuple[Any, ...]) -> list[Any]:
    with connection().cursor() as cursor:
        cursor.execute(sql, values)
        return list(cursor.fetchall())


def runs_by_workflow(status: str, since: datetime | None = None) -> dict[str, int]:
    """Return how many runs in this state each workflow has; of those created since then, if so asked."""
    later, values = ("", ()) if since is None else (" AND created_at >= %s", (_literal(since),))
    found = _rows(
        f"SELECT workflow, COUNT(*) FROM (SELECT workflow FROM {RUN} WHERE status = %s{later} "
        "ORDER BY created_at DESC LIMIT %s) AS counted GROUP BY workflow",
        (status, *values, COUNTED),
    )
    return {workflow: int(count) for workflow, count in found}


def queue() -> Queue:
    """Return how many deliveries are due, held by workers, and due later, and since when the oldest is due."""
    now = database_now()
    moment = _literal(now)
    due = held = scheduled = 0
    oldest: list[datetime] = []
    for lane in LANES:
        count, first = _rows(
            f"SELECT COUNT(*), MIN(due_at) FROM (SELECT due_at FROM {DELIVERY} WHERE lane = %s AND due_at <= %s "
            "ORDER BY due_at LIMIT %s) AS counted",
            (lane, moment, COUNTED),
        )[0]
        due += int(count)
        since = moment_of(first)
        oldest += [since] if since is not None else []
        ahead, by_workers = _rows(
            f"SELECT COUNT(*), SUM(CASE WHEN leased_by = '' THEN 0 ELSE 1 END) FROM (SELECT leased_by FROM {DELIVERY} "
            "WHERE lane = %s AND due_at > %s ORDER BY due_at LIMIT %s) AS counted",
            (lane, moment, COUNTED),
        )[0]
        held += int(by_workers or 0)
        scheduled += int(ahead) - int(by_workers or 0)
    return Queue(due, held, scheduled, min(oldest, default=None))


def waiters() -> int:
    """Return how many events are waited for."""
    [(count,)] = _rows(
        f"SELECT COUNT(*) FROM (SELECT 1 FROM {WAITER} WHERE filled IS NULL LIMIT %s) AS counted",
        (COUNTED,),
    )
    return int(count)


def lines() -> list[tuple[str, str, int]]:
    """Return key, state and number of those that stand in line or hold a slot, the longest first."""
    found = _rows(
        f"SELECT flow_key, state, COUNT(*) AS n FROM (SELECT flow_key, state FROM {TICKET} LIMIT %s) AS counted "
        "GROUP BY flow_key, state ORDER BY n DESC, flow_key, state LIMIT %s",
        (COUNTED, LINES),
    )
    return [(key, state, int(count)) for key, state, count in found]


def latest_steps() -> list[Took]:
    """Return how long the bodies of the latest steps took."""
    found = _rows(
        f"SELECT r.workflow, s.name, s.started_at, s.finished_at FROM (SELECT run_id, name, started_at, finished_at "
        f"FROM {STEP} ORDER BY id DESC LIMIT %s) AS s JOIN {RUN} r ON r.id = s.run_id "
        "WHERE s.started_at IS NOT NULL AND s.finished_at IS NOT NULL",
        (LATEST_STEPS,),
    )
    took = []
    for workflow, name, started, finished in found:
        begun, ended = moment_of(started), moment_of(finished)
        if begun is not None and ended is not None:
            took.append(Took(workflow, name, max(0.0, (ended - begun) / timedelta(seconds=1))))
    return took


def _literal(moment: datetime) -> Any:
    return dialect().literal(moment)
