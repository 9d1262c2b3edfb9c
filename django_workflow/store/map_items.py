"""The items of maps: written with the step that is registered, and opened again when it is resumed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django_workflow.at_rest.vault import kept
from django_workflow.core.maps import slice_keys
from django_workflow.models import MapItem
from django_workflow.store.rows import STEP, StepRow
from django_workflow.store.sql import dialect

ITEM = MapItem._meta.db_table
CHUNK = 500


def register(cursor: Any, run_id: str, rows: Sequence[StepRow]) -> list[str]:
    """Insert the items of maps that are being registered; return the keys of the deliveries they need.

    A map that is there already has lost its deliveries: by a failure of the run, whose resume gives those items that
    had given up a new round of attempts, or by code that did not come to it for a while.
    """
    keys: list[str] = []
    for row in rows:
        if row.mapped is None:
            continue
        if row.registered:
            _open_again(cursor, run_id, row)
        else:
            _insert(cursor, run_id, row.key, row.mapped.items)
        keys += slice_keys(row.key, row.mapped.total, row.mapped.slices)
    return keys


def _insert(cursor: Any, run_id: str, key: str, items: Sequence[str]) -> None:
    speak = dialect()
    columns = speak.columns(("run_id", "step_key", "place", "item_text", "attempts"))
    for start in range(0, len(items), CHUNK):
        chunk = items[start : start + CHUNK]
        cursor.execute(
            f"{speak.ignore} {ITEM} ({columns}) VALUES {', '.join(['(%s, %s, %s, %s, 0)'] * len(chunk))}{speak.ignore_tail}",
            [
                value
                for place, text in enumerate(chunk, start)
                for value in (run_id, key, place, kept(text))
            ],
        )


def _open_again(cursor: Any, run_id: str, row: StepRow) -> None:
    if not row.attempts:
        cursor.execute(
            f"UPDATE {ITEM} SET failure_text = NULL, attempts = 0, wake_at = NULL, finished_at = NULL "
            "WHERE run_id = %s AND step_key = %s AND failure_text IS NOT NULL",
            (run_id, row.key),
        )
    cursor.execute(
        f"UPDATE {STEP} SET status = %s, attempts = 1, delivered = %s "
        f"WHERE run_id = %s AND {dialect().name('key')} = %s AND sequence IS NULL",
        (row.status, True, run_id, row.key),
    )
