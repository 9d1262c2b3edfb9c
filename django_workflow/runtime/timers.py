"""Steps that end by time: which are over, and their records."""

from __future__ import annotations

from datetime import datetime

from django_workflow.core.journal import EXEMPT, Record
from django_workflow.runtime.handlers import elapse
from django_workflow.store.rows import Claim


def record_elapsed(claim: Claim, found: list[Record]) -> list[datetime | None]:
    """Record the timers that are over, in their order; return when the others are."""
    for timer in over(found, claim.now):
        elapse(claim, timer)
    return [
        record.wake_at
        for record in found
        if _is_open_timer(record) and record.wake_at is not None and record.wake_at > claim.now
    ]


def _is_open_timer(record: Record) -> bool:
    return record.sequence is None and record.is_timer and record.status not in EXEMPT


def over(found: list[Record], now: datetime) -> list[Record]:
    """Return the open timers that are over, in their order."""
    timers = [
        (record.wake_at, place, record)
        for place, record in enumerate(found)
        if _is_open_timer(record) and record.wake_at is not None and record.wake_at <= now
    ]
    return [record for _, _, record in sorted(timers)]
