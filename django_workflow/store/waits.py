"""The end of a pass that waits: its steps are registered, and the turn is given back, in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from django.db import transaction

from django_workflow.conf import settings
from django_workflow.core.exceptions import RunExistsError
from django_workflow.store import approval_rows, map_items, requests, triggers, waiters
from django_workflow.store.claims import FREE, give_back
from django_workflow.store.records import fenced, moved, record_step
from django_workflow.store.repeating import repeated
from django_workflow.store.rows import DELIVERY, STEP, Claim, StepRow, moment_of
from django_workflow.store.sql import (
    STEP_INSERT_COLUMNS,
    Fragment,
    Postgres,
    connection,
    dialect,
    kept_row,
)

NO_CALLS: Final[Mapping[str, str]] = MappingProxyType({})


@repeated
def wait(
    claim: Claim,
    rows: Sequence[StepRow],
    *,
    fan_out: Sequence[str] = (),
    calls: Mapping[str, str] = NO_CALLS,
    due_at: datetime | None = None,
    markers: Sequence[StepRow] = (),
    in_line: Sequence[str] = (),
) -> None:
    """Register what a pass found pending and give the turn back, in one transaction.

    ``fan_out`` names the steps that get a step delivery of their own, due at once; ``calls`` those that get one for who
    makes calls, each with its request; ``in_line`` those that stand in line for a slot, whose retry delay is over.

    Raises:
        DeliveryFencedError: the claim is stale; nothing was written.
        RunExistsError: the id of a child is taken; nothing was written.
    """
    speak = dialect()
    plain = not (fan_out or calls or markers or in_line) and _is_plain(rows)
    if isinstance(speak, Postgres) and plain:
        if not _wait_in_one(speak, claim, rows, due_at):
            raise fenced(claim, "The waiting steps")
        return
    with transaction.atomic(using=settings().DATABASE), connection().cursor() as cursor:
        for marker in markers:
            moved(claim, record_step(claim, marker), 1)
        # The fencing check, first of all; the row is given back as the last statement, with the earliest timer.
        cursor.execute(
            f"UPDATE {DELIVERY} SET begun = '' WHERE id = %s AND token = %s",
            (claim.delivery_id, claim.token),
        )
        if not cursor.rowcount:
            raise fenced(claim, "The waiting steps")
        out = {*fan_out, *calls}
        new = [
            replace(row, delivered=True) if row.key in out else row
            for row in rows
            if not row.registered
        ]
        _insert_open(cursor, claim.run_id, new)
        waiters.insert(cursor, claim.run_id, new)
        approval_rows.insert(claim.run_id, new)
        _insert_children([row.child for row in new if row.child is not None])
        _mark_delivered(cursor, claim.run_id, sorted(out - {row.key for row in new}))
        slices = map_items.register(cursor, claim.run_id, rows)
        _insert_deliveries(cursor, claim.run_id, [*fan_out, *slices])
        if calls:
            requests.insert(cursor, claim.run_id, calls)
            _insert_deliveries(cursor, claim.run_id, list(calls), lane=requests.LANE)
        earliest = _earliest(cursor, claim.run_id, due_at, in_line)
        give_back(claim, due_at=earliest, keep_deaths=bool(in_line))


def _is_plain(rows: Sequence[StepRow]) -> bool:
    """Tell whether one of these steps is new at most, and nothing comes with it."""
    new = [row for row in rows if not row.registered]
    return len(new) <= 1 and not any(
        row.awaits or row.asks or row.mapped or row.child for row in rows
    )


def _wait_in_one(
    speak: Postgres, claim: Claim, rows: Sequence[StepRow], due_at: datetime | None
) -> bool:
    """Insert the step that is not there, and give the turn back for the earliest moment; see `wait()`.

    Returns False if the claim is stale; then nothing was written.
    """
    run: Fragment = ("t.run_id", ())
    none: Fragment = ("NULL", ())
    step, earliest = "", ""
    values: tuple[Any, ...] = ()
    for row in rows:
        if not row.registered:
            selected, values = speak.step_values(kept_row(row), run, none)
            step = (
                f"n AS (INSERT INTO {STEP} ({speak.columns(STEP_INSERT_COLUMNS)}) SELECT {selected} FROM t "
                "ON CONFLICT DO NOTHING RETURNING wake_at), "
            )
            earliest = "(SELECT wake_at FROM n), "
    now, times = speak.now()
    with connection().cursor() as cursor:
        # The turn is locked before the steps, as everybody does.
        cursor.execute(
            f"WITH t AS MATERIALIZED (SELECT id, run_id FROM {DELIVERY} WHERE id = %s AND token = %s FOR UPDATE), {step}"
            f"o AS (SELECT MIN(s.wake_at) AS wake_at FROM {STEP} s WHERE s.run_id = (SELECT run_id FROM t) AND s.sequence IS NULL "
            "AND NOT s.delivered AND s.status IN ('sleeping', 'waiting', 'retrying')) "
            f"UPDATE {DELIVERY} d SET due_at = CASE WHEN d.wakes <> %s THEN {now} ELSE "
            f"LEAST({earliest}(SELECT wake_at FROM o), CAST(%s AS timestamptz)) END, "
            f"{FREE.replace('token + 1', 'd.token + 1')}, tries = 0, deaths = 0, trouble = '' WHERE d.id = (SELECT id FROM t)",
            (claim.delivery_id, claim.token, *values, claim.wakes, *times, speak.literal(due_at)),
        )
        return bool(cursor.rowcount)


def _mark_delivered(cursor: Any, run_id: str, keys: Sequence[str]) -> None:
    for start in range(0, len(keys), 100):
        chunk = keys[start : start + 100]
        cursor.execute(
            f"UPDATE {STEP} SET delivered = %s WHERE run_id = %s AND sequence IS NULL "
            f"AND {dialect().name('key')} IN ({', '.join(['%s'] * len(chunk))})",
            (True, run_id, *chunk),
        )


def _insert_open(cursor: Any, run_id: str, rows: Sequence[StepRow]) -> None:
    speak = dialect()
    for start in range(0, len(rows), 50):
        parts: list[str] = []
        params: list[Any] = []
        for row in rows[start : start + 50]:
            sql, values = speak.step_values(kept_row(row), ("%s", (run_id,)), ("NULL", ()))
            parts.append(f"({sql})")
            params.extend(values)
        columns = speak.columns(STEP_INSERT_COLUMNS)
        cursor.execute(
            f"{speak.ignore} {STEP} ({columns}) VALUES {', '.join(parts)}{speak.ignore_tail}",
            params,
        )


def _insert_children(children: Sequence[Any]) -> None:
    if not children:
        return
    created = triggers.insert(children)
    for child in children:
        if child.id not in created:
            raise RunExistsError(
                f'The run ID "{child.id}" is taken, so nothing can be invoked under it. Choose another, or give none.',
                run_id=child.id,
            )


def _insert_deliveries(cursor: Any, run_id: str, keys: Sequence[str], lane: str = "") -> None:
    speak = dialect()
    now, values = speak.now()
    one = f"(%s, %s, %s, {now}, '', 0, 0, 0, 0, '', 0, '')"
    for start in range(0, len(keys), 100):
        chunk = keys[start : start + 100]
        cursor.execute(
            f"{speak.ignore} {DELIVERY} (run_id, step_key, lane, due_at, leased_by, token, entries, wakes, tries, begun, deaths, "
            f"trouble) VALUES {', '.join([one] * len(chunk))}{speak.ignore_tail}",
            [value for key in chunk for value in (run_id, key, lane, *values)],
        )


def _earliest(
    cursor: Any, run_id: str, due_at: datetime | None, in_line: Sequence[str]
) -> datetime | None:
    marks = ", ".join(["%s"] * len(in_line))
    others = f" AND {dialect().name('key')} NOT IN ({marks})" if in_line else ""
    cursor.execute(
        f"SELECT MIN(wake_at) FROM {STEP} WHERE run_id = %s AND sequence IS NULL AND delivered = %s "
        f"AND status IN ('sleeping', 'waiting', 'retrying'){others}",
        (run_id, False, *in_line),
    )
    found = moment_of(cursor.fetchone()[0])
    return min((moment for moment in (found, due_at) if moment is not None), default=None)
