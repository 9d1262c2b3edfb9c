"""Waiters: written with the step that waits, gone when it waits no more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django_workflow.conf import settings
from django_workflow.models import Waiter
from django_workflow.store.rows import StepRow
from django_workflow.store.sql import dialect

WAITER = Waiter._meta.db_table
COLUMNS = ("run_id", "step_key", "event_id", "position", "needed", "schema", "oldest", "created_at")
CHUNK = 50


def insert(cursor: Any, run_id: str, rows: Sequence[StepRow]) -> bool:
    """Insert the waiters of steps that are being registered; return whether there are any."""
    speak = dialect()
    now, now_values = speak.now()
    parts: list[tuple[str, tuple[Any, ...]]] = []
    for row in rows:
        if row.awaits is None:
            continue
        oldest, age = (
            ("NULL", ()) if row.awaits.lookback is None else speak.now(-row.awaits.lookback)
        )
        parts += [
            (
                f"(%s, %s, %s, %s, %s, %s, {oldest}, {now})",
                (
                    run_id,
                    row.key,
                    event_id,
                    position,
                    row.awaits.needed,
                    row.awaits.schema,
                    *age,
                    *now_values,
                ),
            )
            for position, event_id in enumerate(row.awaits.event_ids)
        ]
    for start in range(0, len(parts), CHUNK):
        chunk = parts[start : start + CHUNK]
        cursor.execute(
            f"{speak.ignore} {WAITER} ({speak.columns(COLUMNS)}) "
            f"VALUES {', '.join(sql for sql, _ in chunk)}{speak.ignore_tail}",
            [value for _, values in chunk for value in values],
        )
    return bool(parts)


def delete_of_run(run_id: str) -> None:
    """Delete the waiters of a run that waits for nothing any more."""
    Waiter.objects.using(settings().DATABASE).filter(run_id=run_id).delete()
