"""Deliveries: claimed, entered, renewed, given back."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from django_workflow.conf import settings
from django_workflow.core.ports import get_clock
from django_workflow.core.types import RunStatus
from django_workflow.models import Delivery, Schedule, Sweep
from django_workflow.store.repeating import repeated
from django_workflow.store.rows import (
    CLAIM_COLUMNS,
    DELIVERY,
    RUN,
    RUN_COLUMNS,
    Claim,
    RunRow,
    moment_of,
)
from django_workflow.store.sql import Portable, Postgres, connection, dialect

_RUN_LIST = ", ".join(f"r.{name}" for name in RUN_COLUMNS)
_CLAIM_LIST = ", ".join(f"c.{name}" for name in CLAIM_COLUMNS)
# PostgreSQL locks the newest version of a delivery, but reads the run in the statement's older snapshot. The counter
# of that snapshot (o) goes with it: whatever changed in between is then seen as a wake-up, and the claim ends as due.
_CLAIM_LIST_IN_ONE = _CLAIM_LIST.replace("c.wakes", "o.wakes")
# The commit of this statement does not wait for the disk. For what need not outlive a crash of the database by itself:
# the log is written in order, so the record that follows takes it along.
_NOT_FLUSHED = "(SELECT set_config('synchronous_commit', 'off', true)) IS NOT NULL"
#: What ends a holder's claim: the row is free, and whatever still carries the old token is stale.
FREE = "leased_by = '', token = token + 1, entries = 0, begun = ''"


def now() -> datetime:
    """Return the database's time, or the installed clock's."""
    clock = get_clock()
    if clock is not None:
        return clock.now()
    sql, values = dialect().now()
    with connection().cursor() as cursor:
        cursor.execute(f"SELECT {sql}", values)
        moment = moment_of(cursor.fetchone()[0])
    assert moment is not None  # noqa: S101  a clock has a time
    return moment


@repeated
def claim(
    worker: str, limit: int, *, only: Collection[str] | None = None, lane: str = ""
) -> list[Claim]:
    """Take up to ``limit`` due deliveries of a lane, oldest first, each under a lease and a new token.

    A pending run is running from here on. ``only`` names the runs to look at (the sandbox's).
    """
    if isinstance(dialect(), Postgres) and only is None:
        return _claim_in_one(worker, limit, lane)
    speak = dialect()
    current, values = speak.now()
    with connection().cursor() as cursor:
        cursor.execute(
            f"SELECT 1 FROM {DELIVERY} WHERE lane = %s AND due_at <= {current} LIMIT 1",
            (lane, *values),
        )
        if cursor.fetchone() is None:
            return []
    leased, lease_values = speak.now(settings().LEASE)
    with transaction.atomic(using=settings().DATABASE), connection().cursor() as cursor:
        ids = speak.claimable(cursor, limit, only, lane)
        if not ids:
            return []
        marks = ", ".join(["%s"] * len(ids))
        cursor.execute(
            f"UPDATE {DELIVERY} SET due_at = {leased}, leased_by = %s, token = token + 1, entries = 0, tries = tries + 1 "
            f"WHERE id IN ({marks}) AND due_at <= {current}",
            (*lease_values, worker, *ids, *values),
        )
        # All of them, or the transaction saw another's claim between its two statements (no row locks there).
        if cursor.rowcount != len(ids):
            transaction.set_rollback(True, using=settings().DATABASE)
            return []
        claims = _read(cursor, ids)
        for found in claims:
            # SQLite's clock may go on from one row to the next.
            found.now = claims[0].now
        _begin(cursor, [c for c in claims if c.run.status == RunStatus.PENDING])
    return claims


def _read(cursor: Any, ids: Sequence[int]) -> list[Claim]:
    current, values = dialect().now()
    marks = ", ".join(["%s"] * len(ids))
    cursor.execute(
        f"SELECT {_CLAIM_LIST}, {current}, {_RUN_LIST} FROM {DELIVERY} c JOIN {RUN} r ON r.id = c.run_id WHERE c.id IN ({marks})",
        (*values, *ids),
    )
    rank = {delivery_id: place for place, delivery_id in enumerate(ids)}
    return sorted(
        (_claim_of(row) for row in cursor.fetchall()), key=lambda found: rank[found.delivery_id]
    )


def _begin(cursor: Any, pending: Sequence[Claim]) -> None:
    if not pending:
        return
    # The claim's own time, to the digit: what ctx.now() says at the first pass is what it says at replay.
    cursor.execute(
        f"UPDATE {RUN} SET status = 'running', started_at = %s WHERE status = 'pending' "
        f"AND id IN ({', '.join(['%s'] * len(pending))})",
        (dialect().literal(pending[0].now), *(claim.run_id for claim in pending)),
    )


def _claim_of(row: Sequence[Any]) -> Claim:
    size = len(CLAIM_COLUMNS)
    run = RunRow._make(row[size + 1 :])
    created, moment = moment_of(run.created_at), moment_of(row[size])
    assert created is not None and moment is not None  # noqa: S101, PT018  both columns are never NULL
    run = run._replace(
        created_at=created,
        started_at=moment_of(run.started_at),
        deadline=moment_of(run.deadline),
        continued_at=moment_of(run.continued_at),
    )
    columns: list[Any] = [*row[:size], moment, run]
    return Claim(*columns)


def _run_and_old(speak: Portable) -> str:
    """Return the join of what was changed (c) with its run, and with itself as it was in the statement's snapshot."""
    return f"{speak.look_up(RUN, 'r', 'r.id = c.run_id')} {speak.look_up(DELIVERY, 'o', 'o.id = c.id')}"


def _claim_in_one(worker: str, limit: int, lane: str) -> list[Claim]:
    speak = dialect()
    current, values = speak.now()
    leased, lease_values = speak.now(settings().LEASE)
    # The run is read in the snapshot from before `begun`, so a fresh run still says pending. Ties are put in order at
    # the end only: the index does not hold the id, and thousands triggered at once would be sorted at each claim.
    with connection().cursor() as cursor:
        cursor.execute(
            f"WITH due AS MATERIALIZED (SELECT id FROM {DELIVERY} WHERE lane = %s AND due_at <= {current} ORDER BY due_at "
            "LIMIT %s FOR UPDATE SKIP LOCKED), "
            f"c AS (UPDATE {DELIVERY} d SET due_at = {leased}, leased_by = %s, token = d.token + 1, entries = 0, "
            "tries = d.tries + 1 WHERE d.id = ANY(ARRAY(SELECT id FROM due)) RETURNING d.*), "
            f"begun AS (UPDATE {RUN} u SET status = 'running', started_at = {current} "
            "WHERE u.id = ANY(ARRAY(SELECT run_id FROM c)) AND (u.status = 'pending') IS TRUE) "
            f"SELECT {_CLAIM_LIST_IN_ONE}, {current}, {_RUN_LIST} FROM c {_run_and_old(speak)} ORDER BY o.due_at, o.id",
            (lane, *values, limit, *lease_values, worker, *values, *values),
        )
        return [_claim_of(row) for row in cursor.fetchall()]


@repeated
def enter(
    delivery_id: int, token: int, entry: int, known: tuple[int, RunRow] | None = None
) -> Claim | None:
    """Use up one request of a claim: return the claim, or None if it is stale, replayed or its lease is over.

    ``known`` is the run as this process left it under the same token, with the wake counter of that moment: whoever
    changes a run raises the counter or takes the token, so it is read again only if that has happened.
    """
    speak = dialect()
    current, values = speak.now()
    gate = (
        f"UPDATE {DELIVERY} SET entries = entries + 1 WHERE id = %s AND token = %s AND entries = %s "
        f"AND leased_by <> '' AND due_at > {current}"
    )
    params = (delivery_id, token, entry, *values)
    with connection().cursor() as cursor:
        if not isinstance(speak, Postgres):
            cursor.execute(gate, params)
            return _read(cursor, [delivery_id])[0] if cursor.rowcount else None
        if known is not None:
            cursor.execute(
                f"{gate} AND {_NOT_FLUSHED} RETURNING {', '.join(CLAIM_COLUMNS)}, {current}",
                (*params, *values),
            )
            row = cursor.fetchone()
            return None if row is None else _claim_of_known(cursor, row, *known)
        cursor.execute(
            f"WITH c AS ({gate} AND {_NOT_FLUSHED} RETURNING *) "
            f"SELECT {_CLAIM_LIST_IN_ONE}, {current}, {_RUN_LIST} FROM c {_run_and_old(speak)}",
            (*params, *values),
        )
        row = cursor.fetchone()
        return None if row is None else _claim_of(row)


def _claim_of_known(cursor: Any, row: Sequence[Any], wakes: int, run: RunRow) -> Claim:
    columns: list[Any] = [*row, run]
    claim = Claim(*columns)
    return claim if claim.wakes == wakes else _read(cursor, [claim.delivery_id])[0]


def renew(held: Iterable[tuple[int, int]], lease: timedelta | None = None) -> int:
    """Move the end of these leases, given as (delivery id, token); return how many still hold.

    One statement on PostgreSQL. It locks its rows in everybody's order, also among the steps of one run: see
    `Portable.lock_deliveries()`.
    """
    pairs = list(held)
    return _renew(pairs, lease) if pairs else 0


@repeated
def _renew(pairs: Sequence[tuple[int, int]], lease: timedelta | None) -> int:
    speak = dialect()
    leased, values = speak.now(settings().LEASE if lease is None else lease)
    update = f"UPDATE {DELIVERY} SET due_at = {leased}"
    with connection().cursor() as cursor:
        if isinstance(speak, Postgres):
            gate = " OR ".join(["(id = %s AND token = %s)"] * len(pairs))
            cursor.execute(
                f"{update} WHERE id IN (SELECT id FROM {DELIVERY} WHERE leased_by <> '' AND ({gate}) "
                "ORDER BY step_key DESC, id FOR UPDATE)",
                (*values, *(value for pair in pairs for value in pair)),
            )
            return int(cursor.rowcount)
        # One row at a time: several locks at once, taken in any order, would meet those of a record.
        renewed = 0
        for pair in pairs:
            cursor.execute(
                f"{update} WHERE id = %s AND token = %s AND leased_by <> ''", (*values, *pair)
            )
            renewed += cursor.rowcount
        return renewed


@repeated
def take_over(claim: Claim) -> bool:
    """Give the claim a new token in place: whoever works under the old one can no longer record."""
    with connection().cursor() as cursor:
        cursor.execute(
            f"UPDATE {DELIVERY} SET token = token + 1 WHERE id = %s AND token = %s",
            (claim.delivery_id, claim.token),
        )
        if cursor.rowcount:
            claim.token += 1
        return bool(cursor.rowcount)


@repeated
def mark_begun(claim: Claim, key: str) -> bool:
    """Write that user code begins: what goes wrong after this is a death, charged to ``key``."""
    with connection().cursor() as cursor:
        cursor.execute(
            f"UPDATE {DELIVERY} SET begun = %s WHERE id = %s AND token = %s",
            (key, claim.delivery_id, claim.token),
        )
        return bool(cursor.rowcount)


@repeated
def give_back(
    claim: Claim,
    *,
    due_in: timedelta | None = None,
    due_at: datetime | None = None,
    keep_deaths: bool = False,
) -> bool:
    """End the claim: due again at that time, or not at all, but at once if the wake counter has moved on.

    ``keep_deaths``: the body in which a holder died was not begun again, so nothing is forgotten yet. Returns whether
    the claim still held.
    """
    forgotten = "" if keep_deaths and claim.tries > 1 else "tries = 0, deaths = 0, "
    speak = dialect()
    current, values = speak.now()
    later, later_values = (
        speak.now(due_in) if due_in is not None else ("%s", (speak.literal(due_at),))
    )
    if isinstance(speak, Postgres):
        later = f"CAST({later} AS timestamptz)"
    with connection().cursor() as cursor:
        cursor.execute(
            f"UPDATE {DELIVERY} SET due_at = CASE WHEN wakes <> %s THEN {current} ELSE {later} END, "
            f"{FREE}, {forgotten}trouble = '' WHERE id = %s AND token = %s",
            (claim.wakes, *values, *later_values, claim.delivery_id, claim.token),
        )
        return bool(cursor.rowcount)


@repeated
def give_back_step(claim: Claim, due_at: datetime | None) -> bool:
    """End the claim of a step delivery whose retry delay is not over, if it still holds.

    It is due at once if its counter has moved on: somebody has cut the delay short.
    """
    speak = dialect()
    current, values = speak.now()
    later = "CAST(%s AS timestamptz)" if isinstance(speak, Postgres) else "%s"
    with connection().cursor() as cursor:
        cursor.execute(
            f"UPDATE {DELIVERY} SET due_at = CASE WHEN wakes <> %s THEN {current} ELSE {later} END, {FREE}, tries = 0 "
            "WHERE id = %s AND token = %s",
            (claim.wakes, *values, speak.literal(due_at), claim.delivery_id, claim.token),
        )
        return bool(cursor.rowcount)


def release(held: Iterable[tuple[int, int]]) -> int:
    """Give back claims of which nothing has begun: due at once, and their try does not count.

    What an earlier holder had begun when it died stays marked, for the next one to charge.
    """
    current, values = dialect().now()
    released = 0
    with connection().cursor() as cursor:
        for delivery_id, token in held:
            cursor.execute(
                f"UPDATE {DELIVERY} SET due_at = {current}, leased_by = '', token = token + 1, entries = 0, "
                "tries = CASE WHEN tries > 0 THEN tries - 1 ELSE 0 END "
                "WHERE id = %s AND token = %s",
                (*values, delivery_id, token),
            )
            released += cursor.rowcount
    return released


@repeated
def trouble(
    delivery_id: int, token: int, *, reason: str, due_in: timedelta, survived: bool = False
) -> bool:
    """Put a delivery that did not get through off, without end; nobody's attempt. Returns whether the claim held.

    ``survived`` tells that the process that had begun is alive, so that the next holder charges no death.
    """
    later, values = dialect().now(due_in)
    begun = ", begun = ''" if survived else ""
    with connection().cursor() as cursor:
        cursor.execute(
            f"UPDATE {DELIVERY} SET due_at = {later}, leased_by = '', token = token + 1, entries = 0, trouble = %s{begun} "
            "WHERE id = %s AND token = %s",
            (*values, reason[:2000], delivery_id, token),
        )
        return bool(cursor.rowcount)


def release_worker(prefix: str, is_alive: Any) -> int:
    """Free what dead processes of this machine hold, named ``prefix`` + process id; return how many rows."""
    rows = (
        Delivery.objects.using(settings().DATABASE)
        .filter(leased_by__startswith=prefix)
        .values_list("pk", "token", "leased_by")
    )
    current, values = dialect().now()
    freed = 0
    with connection().cursor() as cursor:
        for delivery_id, token, holder in rows:
            if is_alive(holder):
                continue
            # Not FREE: the mark of what had begun stays, so that a death is charged.
            cursor.execute(
                f"UPDATE {DELIVERY} SET due_at = {current} WHERE id = %s AND token = %s",
                (*values, delivery_id, token),
            )
            freed += cursor.rowcount
    return freed


SWEEPING, PRUNING, ALERTING, TICKING = 1, 2, 3, 4


@repeated
def take_sweep(worker: str, interval: timedelta, what: int = SWEEPING) -> bool:
    """Win the right to sweep (to prune, to keep a tick of the beat) now: one in the whole system per ``interval``."""
    speak = dialect()
    current, values = speak.now()
    limit, limit_values = speak.now(-interval)
    table = Sweep._meta.db_table
    with connection().cursor() as cursor:
        cursor.execute(
            f"UPDATE {table} SET swept_at = {current}, swept_by = %s WHERE id = %s AND swept_at <= {limit}",
            (*values, worker, what, *limit_values),
        )
        if cursor.rowcount:
            return True
        cursor.execute(f"SELECT 1 FROM {table} WHERE id = %s", (what,))
        if cursor.fetchone() is not None:
            return False
        cursor.execute(
            f"{speak.ignore} {table} (id, swept_at, swept_by) VALUES (%s, {current}, %s){speak.ignore_tail}",
            (what, *values, worker),
        )
        return bool(cursor.rowcount)


def count_due(limit: int) -> int:
    """Return how many deliveries any worker may claim now, counting no further than ``limit``."""
    current, values = dialect().now()
    with connection().cursor() as cursor:
        cursor.execute(
            f"SELECT COUNT(*) FROM (SELECT 1 FROM {DELIVERY} WHERE lane = '' AND due_at <= {current} LIMIT %s) AS due",
            (*values, limit),
        )
        return int(cursor.fetchone()[0])


def time_to_next_due(lane: str = "") -> timedelta | None:
    """Return in how long the next delivery of a lane, or schedule, becomes due, or a lease ends; None if none does.

    What is due already does not count. Schedules belong to the ordinary lane.
    """
    current, values = dialect().now()
    with connection().cursor() as cursor:
        cursor.execute(
            f"SELECT (SELECT MIN(due_at) FROM {DELIVERY} WHERE lane = %s AND due_at > {current}), "
            f"(SELECT MIN(due_at) FROM {Schedule._meta.db_table} WHERE due_at > {current} AND %s = ''), {current}",
            (lane, *values, *values, lane, *values),
        )
        *found, moment = (moment_of(value) for value in cursor.fetchone())
    due = min((one for one in found if one is not None), default=None)
    return None if due is None or moment is None else due - moment


def change_mark() -> int | None:
    """Return SQLite's count of what other connections have written, as this one sees it; None on other databases."""
    if connection().vendor != "sqlite":
        return None
    with connection().cursor() as cursor:
        cursor.execute("PRAGMA data_version")
        return int(cursor.fetchone()[0])
