"""Maps under way: items recorded one by one, and gathered by the slice that ends last.

What is kept here: (1) an item is recorded under the token of its slice's delivery, at most once; (2) a slice ends
under the lock of the turn, so of two that end at one moment the second sees that it is the last, and records the
step; (3) a delivery that ends before its items says so on the step, and the turn makes it anew.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db import transaction

from django_workflow.at_rest.vault import kept, sealed
from django_workflow.conf import settings
from django_workflow.core.types import StepStatus
from django_workflow.store.map_items import ITEM
from django_workflow.store.records import AttemptRow, fenced, keep_attempt
from django_workflow.store.repeating import repeated
from django_workflow.store.rows import DELIVERY, RUN, STEP, Claim, Recorded, StepRow, moment_of
from django_workflow.store.sql import Postgres, connection, dialect


class Item(NamedTuple):
    """An item that has not ended."""

    id: int
    place: int
    item_text: str
    attempts: int
    wake_at: datetime | None


class Ended(NamedTuple):
    """An item that has ended, well or badly."""

    place: int
    result_text: str | None
    failure_text: str | None


class Tried(NamedTuple):
    """What one attempt made of an item; with ``wakes_in`` it is tried again."""

    attempts: int
    result_text: str | None = None
    failure_text: str | None = None
    wakes_in: timedelta | None = None


def open_items(run_id: str, key: str, places: range) -> list[Item]:
    """Return the items of a slice that have not ended, in their order."""
    with connection().cursor() as cursor:
        cursor.execute(
            f"SELECT id, place, item_text, attempts, wake_at FROM {ITEM} WHERE run_id = %s AND step_key = %s "
            "AND place >= %s AND place < %s AND finished_at IS NULL ORDER BY place",
            (run_id, key, places.start, places.stop),
        )
        found = [Item._make(row) for row in cursor.fetchall()]
    return [item._replace(wake_at=moment_of(item.wake_at)) for item in found]


@repeated
def record_item(claim: Claim, item: Item, tried: Tried, attempt: AttemptRow | None) -> str:
    """Write what an attempt made of an item; return the status in which the run is found.

    Raises:
        DeliveryFencedError: the claim is stale; nothing was written.
    """
    if attempt is None and isinstance(dialect(), Postgres):
        return _record(claim, item, tried)
    with transaction.atomic(using=settings().DATABASE):
        status = _record(claim, item, tried)
        if attempt is not None:
            keep_attempt(claim, attempt)
    return status


def _record(claim: Claim, item: Item, tried: Tried) -> str:
    speak = dialect()
    now, now_values = speak.now()
    wake, wake_values = ("NULL", ()) if tried.wakes_in is None else speak.now(tried.wakes_in)
    ends = tried.wakes_in is None
    change = (
        f"UPDATE {ITEM} i SET attempts = %s, result_text = %s, failure_text = %s, wake_at = {wake}, "
        f"finished_at = {now if ends else 'NULL'}"
    )
    params = (
        tried.attempts, kept(tried.result_text), sealed(tried.failure_text), *wake_values, *(now_values if ends else ()),
    )  # fmt: skip
    held = (claim.delivery_id, claim.token)
    # A holder whose predecessor has died makes that good with its first record; others only hold their row.
    clean = "tries = 1, deaths = 0, begun = '', trouble = ''"
    was_in_trouble = claim.tries > 1 or claim.deaths or claim.begun
    with connection().cursor() as cursor:
        if isinstance(speak, Postgres):
            gate = (
                f"UPDATE {DELIVERY} SET {clean} WHERE id = %s AND token = %s RETURNING run_id"
                if was_in_trouble
                else f"SELECT run_id FROM {DELIVERY} WHERE id = %s AND token = %s FOR UPDATE"
            )
            cursor.execute(
                f"WITH d AS MATERIALIZED ({gate}) {change} FROM d WHERE i.id = %s AND i.finished_at IS NULL "
                f"RETURNING (SELECT r.status FROM {RUN} r WHERE r.id = d.run_id)",
                (*held, *params, item.id),
            )
            row = cursor.fetchone()
        else:
            set_clean = clean if was_in_trouble else "begun = begun"
            cursor.execute(f"UPDATE {DELIVERY} SET {set_clean} WHERE id = %s AND token = %s", held)
            row = None
            if cursor.rowcount:
                cursor.execute(
                    f"{change.replace(f'{ITEM} i', ITEM)} WHERE id = %s AND finished_at IS NULL",
                    (*params, item.id),
                )
                cursor.execute(f"SELECT status FROM {RUN} WHERE id = %s", (claim.run_id,))
                row = cursor.fetchone()
        if row is None:
            raise fenced(claim, f"Item {item.place} of a map")
    claim.tries, claim.deaths, claim.begun = 1, 0, ""
    return str(row[0])


@repeated
def end_slice(
    claim: Claim, key: str, gather: Callable[[list[Ended]], StepRow]
) -> tuple[Recorded, StepRow] | None:
    """End a slice's delivery; the last one records the step as ``gather`` makes it of all items, and wakes the turn.

    Raises:
        DeliveryFencedError: the claim is stale; nothing was written.
    """
    speak = dialect()
    with transaction.atomic(using=settings().DATABASE), connection().cursor() as cursor:
        cursor.execute(
            f"DELETE FROM {DELIVERY} WHERE id = %s AND token = %s", (claim.delivery_id, claim.token)
        )
        if not cursor.rowcount:
            raise fenced(claim, "The end of a map's slice")
        _lock_turn(cursor, claim.run_id)
        cursor.execute(
            f"SELECT 1 FROM {ITEM} WHERE run_id = %s AND step_key = %s AND finished_at IS NULL LIMIT 1",
            (claim.run_id, key),
        )
        if cursor.fetchone() is not None:
            return None
        cursor.execute(
            f"SELECT place, result_text, failure_text FROM {ITEM} WHERE run_id = %s AND step_key = %s ORDER BY place",
            (claim.run_id, key),
        )
        row = gather([Ended._make(found) for found in cursor.fetchall()])
        sequence = speak.raise_wakes(cursor, claim.run_id)
        if not speak.write_step(cursor, claim.run_id, row, sequence):
            return None
        cursor.execute(
            f"SELECT finished_at FROM {STEP} WHERE run_id = %s AND {speak.name('key')} = %s",
            (claim.run_id, key),
        )
        return Recorded(sequence, moment_of(cursor.fetchone()[0])), row


def _lock_turn(cursor: Any, run_id: str) -> None:
    cursor.execute(f"SELECT id FROM {DELIVERY} WHERE run_id = %s AND step_key = ''", (run_id,))
    for found in cursor.fetchall():
        cursor.execute(f"UPDATE {DELIVERY} SET wakes = wakes WHERE id = %s", found)


@repeated
def leave_slice(claim: Claim, key: str) -> bool:
    """End the delivery of a slice that the code does not come to, and wake the turn: it makes it anew, or finds out why."""
    with transaction.atomic(using=settings().DATABASE), connection().cursor() as cursor:
        cursor.execute(
            f"DELETE FROM {DELIVERY} WHERE id = %s AND token = %s", (claim.delivery_id, claim.token)
        )
        if not cursor.rowcount:
            return False
        dialect().raise_wakes(cursor, claim.run_id)
        cursor.execute(
            f"UPDATE {STEP} SET status = %s WHERE run_id = %s AND {dialect().name('key')} = %s "
            "AND sequence IS NULL AND status = %s",
            (str(StepStatus.PENDING), claim.run_id, key, str(StepStatus.EXECUTING)),
        )
    return True
