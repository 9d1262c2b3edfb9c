"""The lines of queueing singletons: a run begins when those of its key that were triggered before it have ended.

What is kept here: (1) a line is a flow control key whose one slot is held by a run, from its turn to begin until its
end; (2) the slot changes hands in one transaction under the lock of the key's row: the tickets of runs that have ended
go, and the first in line is given the slot and made due; (3) so until then the ended run's ticket stays, and a line is
never without somebody from whom it moves on; (4) a delivery is locked before its ticket, as by whoever gives a run
another priority; (5) who holds deliveries does not ask for the lock of such a key.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from django.db import transaction

from django_workflow.conf import settings
from django_workflow.core.flow import FlowState
from django_workflow.core.singleton_lines import RUN_ITSELF
from django_workflow.models import Delivery, FlowKey, FlowTicket
from django_workflow.store import flow
from django_workflow.store.claims import give_back
from django_workflow.store.flow import CAN_GO_ON, KEY, MOST, TICKET, found_or_made, with_run
from django_workflow.store.repeating import repeated
from django_workflow.store.rows import RUN, Claim, moment_of
from django_workflow.store.sql import connection, dialect

#: Parallelism, rate, period in ms.
ONE_AT_A_TIME: Final = (1, None, 1000)
HAS_ENDED: Final = (
    "(r.id IS NULL OR (r.status IN ('completed', 'cancelled', 'failed', 'blocked') "
    "AND r.handler_status <> 'running' AND r.undo_status NOT IN ('pending', 'running')))"
)


class QueuedRun(NamedTuple):
    """A run that waits in a line, and from when on it may begin."""

    run_id: str
    turn: int
    line: str
    priority: int
    not_before: datetime


def _tickets() -> Any:
    return FlowTicket.objects.using(settings().DATABASE).filter(step_key=RUN_ITSELF)


def line_up(runs: Sequence[QueuedRun], moment: datetime) -> None:
    """Put runs in line, in the transaction that inserts them."""
    FlowTicket.objects.using(settings().DATABASE).bulk_create(
        [
            FlowTicket(
                run_id=run.run_id,
                step_key=RUN_ITSELF,
                flow_key=run.line,
                state=FlowTicket.State.WAITING,
                priority=run.priority,
                delivery_id=run.turn,
                created_at=moment,
                expires_at=run.not_before if run.not_before > moment else None,
            )
            for run in runs
        ]
    )


def adopt(run_id: str, line: str, moment: datetime) -> None:
    """Let a run that has not ended, and stands in no line, hold the slot: it was triggered under another policy."""
    turn = Delivery.objects.using(settings().DATABASE).filter(run_id=run_id, step_key="").first()
    if turn is None or _tickets().filter(run_id=run_id).exists():
        return
    FlowTicket.objects.using(settings().DATABASE).bulk_create(
        [
            FlowTicket(
                run_id=run_id,
                step_key=RUN_ITSELF,
                flow_key=line,
                state=FlowTicket.State.HOLDING,
                delivery_id=turn.pk,
                created_at=moment,
            )
        ],
        ignore_conflicts=True,
    )


@repeated
def settle(line: str) -> int:
    """Let the first in line begin if nobody else is at work; return how many were made due at once."""
    with transaction.atomic(using=settings().DATABASE), connection().cursor() as cursor:
        key, _ = found_or_made(cursor, line, ONE_AT_A_TIME)
        _forget(cursor, "t.flow_key = %s AND t.state <> 'waiting'", line)
        if key.paused or _tickets().filter(flow_key=line).exclude(state="waiting").exists():
            return 0
        for _ in range(MOST):
            first = _first_in(cursor, line)
            if first is None:
                break
            ticket, delivery_id, not_before = first
            at_once = flow.wake([flow.Wake(delivery_id, not_before)])
            cursor.execute(
                f"UPDATE {TICKET} SET state = 'holding', expires_at = NULL WHERE id = %s AND (state = 'waiting') IS TRUE",
                (ticket,),
            )
            # Gone meanwhile: its run was cancelled.
            if cursor.rowcount:
                return at_once
    return 0


def _first_in(cursor: Any, line: str) -> tuple[int, int, datetime | None] | None:
    """Return the ticket of the next run, its turn, and when it may begin where that is to come."""
    now, at = dialect().now()
    cursor.execute(
        f"SELECT t.id, t.delivery_id, CASE WHEN t.expires_at > {now} THEN t.expires_at END "
        f"FROM {TICKET} t {with_run()} WHERE t.flow_key = %s AND t.state = 'waiting' "
        f"AND {CAN_GO_ON} ORDER BY t.priority DESC, t.id LIMIT 1",
        (*at, line),
    )
    row = cursor.fetchone()
    return None if row is None else (row[0], row[1], moment_of(row[2]))


def _forget(cursor: Any, which: str, *values: Any) -> None:
    """Delete tickets of runs that have ended."""
    cursor.execute(
        f"SELECT t.id FROM {TICKET} t {with_run(is_outer=True)} WHERE {which} AND {HAS_ENDED} LIMIT %s",
        (*values, MOST),
    )
    ended = [row[0] for row in cursor.fetchall()]
    if ended:
        _tickets().filter(pk__in=ended).delete()


def neglected() -> list[str]:
    """Return the lines in which who was at work has ended, or nobody is; those who have ended before they began go."""
    if not _tickets().exists():
        return []
    held = f"SELECT 1 FROM {TICKET} h WHERE h.flow_key = t.flow_key AND h.step_key = %s AND h.state <> 'waiting'"
    with connection().cursor() as cursor:
        _forget(cursor, "t.step_key = %s AND t.state = 'waiting'", RUN_ITSELF)
        cursor.execute(
            f"SELECT DISTINCT t.flow_key FROM {TICKET} t {with_run(is_outer=True)} "
            f"LEFT JOIN {KEY} k ON k.flow_key = t.flow_key WHERE t.step_key = %s AND (t.state <> 'waiting' AND {HAS_ENDED} "
            f"OR (t.state = 'waiting' AND {CAN_GO_ON} AND (k.flow_key IS NULL OR k.paused = %s) AND NOT EXISTS ({held}))) "
            "LIMIT %s",
            (RUN_ITSELF, False, RUN_ITSELF, MOST),
        )
        return [row[0] for row in cursor.fetchall()]


def is_waiting(run_id: str) -> bool:
    """Tell whether a run's turn to begin has not come."""
    return bool(_tickets().filter(run_id=run_id, state=FlowTicket.State.WAITING).exists())


def has_ended(run_id: str) -> bool:
    """Tell whether a run has ended that is still in its line."""
    with connection().cursor() as cursor:
        cursor.execute(
            f"SELECT 1 FROM {TICKET} t {with_run(is_outer=True)} "
            f"WHERE t.run_id = %s AND t.step_key = %s AND {HAS_ENDED}",
            (run_id, RUN_ITSELF),
        )
        return cursor.fetchone() is not None


@repeated
def stand_back(claim: Claim, due_at: datetime | None) -> None:
    """Give back the turn of a run that waits in line, which has not begun then.

    Due again at once where it was given the slot meanwhile: that has raised the counter.
    """
    with transaction.atomic(using=settings().DATABASE), connection().cursor() as cursor:
        if give_back(claim, due_at=due_at):
            cursor.execute(
                f"UPDATE {RUN} SET status = 'pending', started_at = NULL WHERE id = %s AND status = 'running'",
                (claim.run_id,),
            )


def state(line: str) -> FlowState | None:
    """Return a line as it is; None where nobody has used it."""
    key = FlowKey.objects.using(settings().DATABASE).filter(pk=line).first()
    if key is None:
        return None
    waiting = _tickets().filter(flow_key=line).waiting().count()
    with connection().cursor() as cursor:
        cursor.execute(
            f"SELECT COUNT(*) FROM {TICKET} t {with_run(is_outer=True)} "
            f"WHERE t.flow_key = %s AND t.state <> 'waiting' AND NOT {HAS_ENDED}",
            (line,),
        )
        holding = int(cursor.fetchone()[0])
    return FlowState(
        key=line,
        parallelism=1,
        rate=None,
        period=timedelta(seconds=1),
        is_paused=key.paused,
        is_pinned=False,
        waiting=waiting,
        holding=holding,
    )


@repeated
def pause(line: str, *, paused: bool) -> None:
    """Keep the next run from beginning, or let it begin again."""
    with transaction.atomic(using=settings().DATABASE), connection().cursor() as cursor:
        found_or_made(cursor, line, ONE_AT_A_TIME)
        FlowKey.objects.using(settings().DATABASE).filter(pk=line).update(paused=paused)
