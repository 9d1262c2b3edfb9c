"""Flow control's lines and keys: entered and left, looked after by the sweep, and steered by operators."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.db import transaction

from django_workflow.conf import settings
from django_workflow.core.flow import FlowState
from django_workflow.core.singleton_lines import RUN_ITSELF
from django_workflow.models import FlowKey, FlowTicket
from django_workflow.store.flow import (
    KEY,
    MOST,
    START,
    TICKET,
    KeyRow,
    Wake,
    find_key,
    found_or_made,
    holds,
    is_granted_now,
    load_of,
    milliseconds,
    with_delivery,
)
from django_workflow.store.repeating import repeated
from django_workflow.store.rows import DELIVERY
from django_workflow.store.sql import connection, dialect


class NewTicket(NamedTuple):
    """A run that waits to begin."""

    run_id: str
    flow_key: str
    priority: int


@repeated
def leave(run_ids: Sequence[str], step_key: str | None = None) -> set[str]:
    """Take away the tickets of runs, or of one step of theirs; return the keys under which somebody may be next."""
    found = FlowTicket.objects.using(settings().DATABASE).filter(run_id__in=run_ids)
    if step_key is not None:
        found = found.filter(step_key=step_key)
    keys = set(found.values_list("flow_key", flat=True))
    if keys:
        found.delete()
    return keys


def keys_of(run_id: str) -> set[str]:
    """Return the keys of a run's tickets."""
    found = FlowTicket.objects.using(settings().DATABASE).filter(run_id=run_id)
    return set(found.values_list("flow_key", flat=True))


def line_up_to_begin(turns: Sequence[tuple[int, NewTicket]], moment: datetime) -> None:
    """Insert tickets of runs that wait to begin, given with their turns, in the caller's transaction."""
    FlowTicket.objects.using(settings().DATABASE).bulk_create(
        [
            FlowTicket(
                run_id=new.run_id,
                flow_key=new.flow_key,
                state=FlowTicket.State.WAITING,
                priority=new.priority,
                delivery_id=turn,
                created_at=moment,
            )
            for turn, new in turns
        ]
    )


def neglected() -> tuple[list[str], list[Wake]]:
    """Return the keys that have something to give or to take back, and granted deliveries that nobody has woken."""
    now, at = dialect().now()
    with connection().cursor() as cursor:
        cursor.execute(f"SELECT 1 FROM {TICKET} LIMIT 1")
        if cursor.fetchone() is None:
            return [], []
        cursor.execute(
            f"DELETE FROM {TICKET} WHERE state IN ('holding', 'granted') AND step_key <> %s "
            f"AND NOT EXISTS (SELECT 1 FROM {DELIVERY} d WHERE d.id = {TICKET}.delivery_id)",
            (RUN_ITSELF,),
        )
        _return_grants(cursor)
        live = f"SELECT COUNT(*) FROM {TICKET} t {with_delivery()} WHERE t.flow_key = w.flow_key"
        cursor.execute(
            f"SELECT DISTINCT w.flow_key FROM {TICKET} w LEFT JOIN {KEY} k ON k.flow_key = w.flow_key "
            f"WHERE w.state = 'waiting' AND w.step_key <> %s AND (k.flow_key IS NULL OR (k.parallelism IS NULL AND k.rate IS NULL) "
            f"OR k.paused = %s AND (k.parallelism IS NULL "
            f"OR k.parallelism > ({live} AND (({holds(now)}) OR ({is_granted_now(now)}))))) LIMIT %s",
            (RUN_ITSELF, False, *at, *at, *at, MOST),
        )
        keys = [row[0] for row in cursor.fetchall()]
        cursor.execute(
            f"SELECT d.id FROM {TICKET} t {with_delivery()} WHERE t.state = 'granted' "
            "AND d.leased_by = '' AND d.due_at IS NULL LIMIT %s",
            (MOST,),
        )
        return keys, [Wake(row[0]) for row in cursor.fetchall()]


def _return_grants(cursor: Any) -> None:
    """Put those who were given a slot and do not come at the end of the line."""
    now, at = dialect().now()
    cursor.execute(
        f"SELECT t.id, t.flow_key FROM {TICKET} t {with_delivery()} "
        f"WHERE t.state = 'granted' AND t.expires_at <= {now} AND NOT ({is_granted_now(now)}) LIMIT %s",
        (*at, *at, *at, MOST),
    )
    for ticket, flow_key in cursor.fetchall():
        _return_grant(cursor, ticket, flow_key)


@repeated
def _return_grant(cursor: Any, ticket: int, flow_key: str) -> None:
    with transaction.atomic(using=settings().DATABASE):
        find_key(cursor, flow_key)
        row = FlowTicket.objects.using(settings().DATABASE).filter(pk=ticket).first()
        if row is None or row.state != FlowTicket.State.GRANTED:
            return
        row.delete()
        row.pk, row.state, row.expires_at = None, FlowTicket.State.WAITING, None
        row.save(using=settings().DATABASE, force_insert=True)


def state(flow_key: str) -> FlowState | None:
    """Return a key as it is; None where nobody has used it."""
    key = FlowKey.objects.using(settings().DATABASE).filter(pk=flow_key).first()
    if key is None:
        return None
    line = FlowTicket.objects.using(settings().DATABASE).filter(flow_key=flow_key).waiting()
    now = KeyRow(flow_key, key.parallelism, key.rate, key.period_ms, key.paused, key.pinned)
    with connection().cursor() as cursor:
        load = load_of(cursor, now)
    return FlowState(
        key=flow_key,
        parallelism=key.parallelism,
        rate=key.rate,
        period=now.period,
        is_paused=bool(key.paused),
        is_pinned=bool(key.pinned),
        waiting=line.count(),
        holding=load.holding + load.granted,
    )


@repeated
def change(
    flow_key: str, *, forget_starts: bool = False, limits: Any = None, **flags: bool
) -> None:
    """Change a key under its lock; a pause takes back what was given and has not begun."""
    with transaction.atomic(using=settings().DATABASE), connection().cursor() as cursor:
        found_or_made(cursor, flow_key, (None, None, 1000))
        changes: dict[str, Any] = dict(flags)
        for name, value in (limits or {}).items():
            if name == "period":
                changes["period_ms"] = milliseconds(value)
            else:
                changes[name] = value
        if changes:
            FlowKey.objects.using(settings().DATABASE).filter(pk=flow_key).update(**changes)
        if flags.get("paused"):
            cursor.execute(
                f"UPDATE {TICKET} SET state = 'waiting', expires_at = NULL WHERE flow_key = %s AND state = 'granted'",
                (flow_key,),
            )
        if forget_starts:
            cursor.execute(f"DELETE FROM {START} WHERE flow_key = %s", (flow_key,))
