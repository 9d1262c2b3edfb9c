"""Flow control: slots given, returned, and given to whoever is next in line.

What is kept here: (1) a slot is given only under the lock of its key's row, by what the rows say then, so never more
are given than there are; (2) a ticket that holds counts while its delivery is leased under the ticket's token, so a
slot is free when its holder's lease is over or somebody else has claimed the delivery; (3) who returns a slot gives it
to the first in line in the same transaction, and wakes the delivery after it: the sweep wakes whom nobody has woken;
(4) no delivery is locked under the key's lock, so those who hold a delivery may wait for the key; (5) a rate is kept by
a log: a body begins when fewer than ``rate`` have begun within the period up to now and no granted one may.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db import transaction

from django_workflow.conf import settings
from django_workflow.core.flow import FlowControl
from django_workflow.models import FlowKey, FlowStart, FlowTicket
from django_workflow.store.repeating import repeated
from django_workflow.store.rows import DELIVERY, RUN, Claim, moment_of
from django_workflow.store.sql import connection, dialect

KEY = FlowKey._meta.db_table
TICKET = FlowTicket._meta.db_table
START = FlowStart._meta.db_table
KEY_COLUMNS = ("flow_key", "parallelism", "rate", "period_ms", "paused", "pinned")
TICKET_COLUMNS = (
    "run_id", "step_key", "flow_key", "state", "priority", "delivery_id", "token", "created_at", "expires_at",
)  # fmt: skip
#: How many slots are given in one transaction, and how many keys one sweep looks after.
MOST = 200
CAN_GO_ON = (
    "(r.status IN ('pending', 'running', 'cancelling') OR (r.status = 'failed' "
    "AND (r.handler_status = 'running' OR r.undo_status IN ('pending', 'running'))))"
)


class Slot(NamedTuple):
    """A slot that a delivery holds."""

    ticket: int
    key: str
    token: int


class Taken(NamedTuple):
    """What became of asking for a slot."""

    slot: Slot | None
    #: Without one: when the delivery should ask again by itself, if nobody wakes it before.
    opens_at: datetime | None
    #: Deliveries that are to be woken after the commit.
    woken: list[Wake]


class Wake(NamedTuple):
    """A delivery that is to be made due: at once, or at a moment."""

    delivery_id: int
    at: datetime | None = None


class KeyRow(NamedTuple):
    """A key's row, locked."""

    flow_key: str
    parallelism: int | None
    rate: int | None
    period_ms: int
    paused: bool
    pinned: bool

    @property
    def period(self) -> timedelta:
        return timedelta(milliseconds=self.period_ms)

    @property
    def is_known(self) -> bool:
        """Whether code or an operator has said what the limits are."""
        return bool(self.pinned) or (self.parallelism, self.rate) != (None, None)


class _Load(NamedTuple):
    """How busy a key is, at the database's time."""

    now: datetime
    holding: int
    granted: int
    begun: int
    has_line: bool

    def room(self, key: KeyRow) -> int:
        """Return how many more may be given a slot now."""
        room = MOST
        if key.parallelism is not None:
            room = min(room, key.parallelism - self.holding - self.granted)
        if key.rate is not None:
            room = min(room, key.rate - self.begun - self.granted)
        return max(0, room)

    def has_slot(self, key: KeyRow) -> bool:
        """Tell whether parallelism alone would let one more begin."""
        return key.parallelism is None or key.parallelism > self.holding + self.granted


class _Mine(NamedTuple):
    id: int
    step_key: str
    flow_key: str
    state: str
    delivery_id: int
    token: int
    is_granted: int


def with_delivery(*, is_outer: bool = False) -> str:
    """Return the join of a ticket t with its delivery d."""
    return dialect().look_up(DELIVERY, "d", "d.id = t.delivery_id", is_outer=is_outer)


def with_run(*, is_outer: bool = False) -> str:
    """Return the join of a ticket t with its run r."""
    return dialect().look_up(RUN, "r", "r.id = t.run_id", is_outer=is_outer)


def holds(now: str) -> str:
    """Return the condition that a ticket t of a delivery d holds a slot."""
    return f"t.state = 'holding' AND d.token = t.token AND d.leased_by <> '' AND d.due_at > {now}"


def is_granted_now(now: str) -> str:
    """Return the condition that a slot is kept for a ticket t of a delivery d."""
    # Kept for whoever only waits for a worker, however long; not for a delivery that has trouble, or never comes.
    return (
        f"t.state = 'granted' AND (t.expires_at > {now} OR (d.trouble = '' AND d.due_at IS NOT NULL "
        f"AND (d.leased_by <> '' OR d.due_at <= {now})))"
    )


def milliseconds(period: timedelta) -> int:
    """Return a period as it is stored."""
    return period // timedelta(milliseconds=1)


def find_key(cursor: Any, flow_key: str) -> KeyRow | None:
    """Lock a key's row, and return it."""
    lock = ""
    if connection().features.has_select_for_update:
        lock = " FOR UPDATE"
    else:
        # A write, because SQLite's transactions must begin with one.
        cursor.execute(f"UPDATE {KEY} SET paused = paused WHERE flow_key = %s", (flow_key,))
    cursor.execute(
        f"SELECT {', '.join(KEY_COLUMNS)} FROM {KEY} WHERE flow_key = %s{lock}", (flow_key,)
    )
    row = cursor.fetchone()
    return None if row is None else KeyRow._make(row)


def found_or_made(
    cursor: Any, flow_key: str, limits: tuple[int | None, int | None, int]
) -> tuple[KeyRow, bool]:
    """Lock a key's row, or insert it with these limits; return it, and whether it was new."""
    speak = dialect()
    is_new = False
    # Again where another's key was there, and was deleted as unused before it could be locked.
    while (found := find_key(cursor, flow_key)) is None:
        cursor.execute(
            speak.insert_lock(KEY, KEY_COLUMNS, "%s, %s, %s, %s, %s, %s", "flow_key"),
            (flow_key, *limits, False, False),
        )
        is_new = True
    return found, is_new


def _lock(cursor: Any, control: FlowControl) -> KeyRow:
    """Lock a key's row; the limits that the code names now hold from here on, unless they are pinned."""
    limits = (control.parallelism, control.rate, milliseconds(control.period))
    key, _ = found_or_made(cursor, control.text_key, limits)
    if key.pinned or key[1:4] == limits:
        return key
    cursor.execute(
        f"UPDATE {KEY} SET parallelism = %s, rate = %s, period_ms = %s WHERE flow_key = %s",
        (*limits, key.flow_key),
    )
    return key._replace(parallelism=limits[0], rate=limits[1], period_ms=limits[2])


def load_of(cursor: Any, key: KeyRow) -> _Load:
    """Return how busy a key is."""
    speak = dialect()
    now, at = speak.now()
    since, since_at = speak.now(-key.period)
    counted = f"SELECT COUNT(*) FROM {TICKET} t {with_delivery()} WHERE t.flow_key = %s AND"
    begun = f"SELECT COUNT(*) FROM {START} WHERE flow_key = %s AND begun_at > {since}"
    cursor.execute(
        f"SELECT {now}, ({counted} {holds(now)}), ({counted} {is_granted_now(now)}), "
        f"{'0' if key.rate is None else f'({begun})'}, "
        f"(SELECT 1 FROM {TICKET} w WHERE w.flow_key = %s AND w.state = 'waiting' LIMIT 1)",
        (
            *at,
            key.flow_key,
            *at,
            key.flow_key,
            *at,
            *at,
            *(() if key.rate is None else (key.flow_key, *since_at)),
            key.flow_key,
        ),
    )
    row = cursor.fetchone()
    now_is = moment_of(row[0])
    assert now_is is not None  # noqa: S101  a clock has a time
    return _Load(now_is, row[1], row[2], row[3], row[4] is not None)


@repeated
def take(claim: Claim, step_key: str, control: FlowControl, priority: int) -> Taken:
    """Give the claimed delivery a slot for this step, or a place in line."""
    with transaction.atomic(using=settings().DATABASE), connection().cursor() as cursor:
        key = _lock(cursor, control)
        mine = _mine(cursor, claim, step_key, key)
        load = load_of(cursor, key)
        if mine is not None and not key.paused and (mine.is_granted or _is_held(mine, claim)):
            was_granted = bool(mine.is_granted)
            slot = _hold(cursor, claim, step_key, key, load, mine.id)
            load = load._replace(
                granted=load.granted - was_granted,
                holding=load.holding + was_granted,
                begun=load.begun + (key.rate is not None),
            )
            # Whoever is first in line now gets to know when the rate lets it begin.
            return Taken(slot, None, _settle(cursor, key, load)[1] if key.rate else [])
        if not key.paused and not load.has_line and load.room(key):
            ticket = mine.id if mine is not None else None
            if ticket is None:
                ticket = _insert(cursor, claim, step_key, key, load, priority, "holding")
            return Taken(_hold(cursor, claim, step_key, key, load, ticket), None, [])
        return _line_up(cursor, claim, step_key, key, load, priority, mine)


def _is_held(mine: _Mine, claim: Claim) -> bool:
    return (mine.state, mine.delivery_id, mine.token) == (
        "holding",
        claim.delivery_id,
        claim.token,
    )


def _mine(cursor: Any, claim: Claim, step_key: str, key: KeyRow) -> _Mine | None:
    """Return the ticket of the step, or of its run before its first step; one of another key is taken away."""
    now, at = dialect().now()
    cursor.execute(
        f"SELECT t.id, t.step_key, t.flow_key, t.state, t.delivery_id, t.token, "
        f"CASE WHEN {is_granted_now(now)} THEN 1 ELSE 0 END FROM {TICKET} t {with_delivery(is_outer=True)} "
        "WHERE t.run_id = %s AND t.step_key IN (%s, '') ORDER BY t.step_key DESC",
        (*at, *at, claim.run_id, step_key),
    )
    found: _Mine | None = None
    for one in map(_Mine._make, cursor.fetchall()):
        if found is None and one.flow_key == key.flow_key:
            found = one
        else:
            cursor.execute(f"DELETE FROM {TICKET} WHERE id = %s", (one.id,))
    return found


def _insert(
    cursor: Any,
    claim: Claim,
    step_key: str,
    key: KeyRow,
    load: _Load,
    priority: int,
    state: str,
) -> int:
    literal = dialect().literal
    values = (
        claim.run_id, step_key, key.flow_key, state, priority, claim.delivery_id, claim.token, literal(load.now), None,
    )  # fmt: skip
    marks = ", ".join(["%s"] * len(values))
    returning = "" if connection().vendor == "mysql" else " RETURNING id"
    cursor.execute(
        f"INSERT INTO {TICKET} ({', '.join(TICKET_COLUMNS)}) VALUES ({marks}){returning}", values
    )
    return int(cursor.fetchone()[0] if returning else cursor.lastrowid)


def _hold(cursor: Any, claim: Claim, step_key: str, key: KeyRow, load: _Load, ticket: int) -> Slot:
    """Let the ticket hold a slot for this claim, and log that its body begins."""
    literal = dialect().literal
    cursor.execute(
        f"UPDATE {TICKET} SET state = 'holding', step_key = %s, delivery_id = %s, token = %s, expires_at = NULL WHERE id = %s",
        (step_key, claim.delivery_id, claim.token, ticket),
    )
    if key.rate is not None:
        cursor.execute(
            f"DELETE FROM {START} WHERE flow_key = %s AND begun_at <= %s",
            (key.flow_key, literal(load.now - key.period)),
        )
        cursor.execute(
            f"INSERT INTO {START} (flow_key, begun_at) VALUES (%s, %s)",
            (key.flow_key, literal(load.now)),
        )
    return Slot(ticket, key.flow_key, claim.token)


def _line_up(
    cursor: Any,
    claim: Claim,
    step_key: str,
    key: KeyRow,
    load: _Load,
    priority: int,
    mine: _Mine | None,
) -> Taken:
    """Put the ticket in line, at the place it had if it had one, and see whether it is its turn."""
    if mine is None:
        ticket = _insert(cursor, claim, step_key, key, load, priority, "waiting")
    else:
        ticket = mine.id
        cursor.execute(
            f"UPDATE {TICKET} SET state = 'waiting', step_key = %s, delivery_id = %s, expires_at = NULL WHERE id = %s",
            (step_key, claim.delivery_id, ticket),
        )
    granted, woken = _settle(cursor, key, load._replace(has_line=True))
    slot, opens_at = None, None
    if ticket in granted:
        slot = _hold(cursor, claim, step_key, key, load, ticket)
    else:
        opens_at = next((w.at for w in woken if w.delivery_id == claim.delivery_id), None)
    return Taken(slot, opens_at, [w for w in woken if w.delivery_id != claim.delivery_id])


def _settle(cursor: Any, key: KeyRow, load: _Load) -> tuple[set[int], list[Wake]]:
    """Give free slots to the first in line; return their tickets, and whom to wake, and when, after the commit."""
    granted: set[int] = set()
    woken: list[Wake] = []
    if key.paused or not key.is_known or not load.has_line or not load.has_slot(key):
        return granted, woken
    room = load.room(key)
    # Who cancels a run locks its tickets in no order that we know, and whom he has locked is not in line any more.
    unlocked = " FOR UPDATE OF t SKIP LOCKED" if connection().vendor == "postgresql" else ""
    cursor.execute(
        f"SELECT t.id, t.delivery_id FROM {TICKET} t {with_run()} {with_delivery()} WHERE t.flow_key = %s AND t.state = 'waiting' AND {CAN_GO_ON} "
        f"ORDER BY t.priority DESC, t.id LIMIT %s{unlocked}",
        (key.flow_key, room + 1),
    )
    expires_at = dialect().literal(load.now + settings().LEASE)
    found = cursor.fetchall()
    for ticket, delivery_id in found[:room]:
        if not _is_unlocked(cursor, ticket):
            continue
        cursor.execute(
            f"UPDATE {TICKET} SET state = 'granted', expires_at = %s WHERE id = %s AND (state = 'waiting') IS TRUE",
            (expires_at, ticket),
        )
        # Gone meanwhile: its run was cancelled.
        if cursor.rowcount:
            granted.add(ticket)
            woken.append(Wake(delivery_id))
    load = load._replace(granted=load.granted + len(granted))
    if len(found) > room and load.has_slot(key):
        opens_at = _opens_at(cursor, key, load)
        if opens_at is not None:
            woken.append(Wake(found[room][1], opens_at))
    return granted, woken


def _is_unlocked(cursor: Any, ticket: int) -> bool:
    """Lock a ticket where it was not locked with the others that were found; False if somebody else has it."""
    if connection().vendor != "mysql":
        return True
    cursor.execute(f"SELECT 1 FROM {TICKET} WHERE id = %s FOR UPDATE SKIP LOCKED", (ticket,))
    return cursor.fetchone() is not None


def _opens_at(cursor: Any, key: KeyRow, load: _Load) -> datetime | None:
    """Return when the rate lets one more begin; None where that hangs on those who were granted a slot."""
    if key.rate is None or load.granted >= key.rate:
        return None
    cursor.execute(
        f"SELECT begun_at FROM {START} WHERE flow_key = %s ORDER BY begun_at DESC LIMIT 1 OFFSET %s",
        (key.flow_key, key.rate - load.granted - 1),
    )
    row = cursor.fetchone()
    begun_at = None if row is None else moment_of(row[0])
    return None if begun_at is None else begun_at + key.period


@repeated
def release(slot: Slot) -> list[Wake]:
    """Return a slot and give it to the first in line; return whom to wake."""
    with transaction.atomic(using=settings().DATABASE), connection().cursor() as cursor:
        key = find_key(cursor, slot.key)
        cursor.execute(
            f"DELETE FROM {TICKET} WHERE id = %s AND token = %s AND (state = 'holding') IS TRUE",
            (slot.ticket, slot.token),
        )
        return [] if key is None else _settle(cursor, key, load_of(cursor, key))[1]


def follow(slot: Slot, claim: Claim) -> Slot:
    """Let a slot be held under the claim's new token, in the transaction that gave it."""
    with connection().cursor() as cursor:
        cursor.execute(
            f"UPDATE {TICKET} SET token = %s WHERE id = %s AND token = %s",
            (claim.token, slot.ticket, slot.token),
        )
    return slot._replace(token=claim.token)


@repeated
def settle(flow_key: str) -> list[Wake] | None:
    """Give what is free of a key to the first in line; return whom to wake, or None where its limits are not known."""
    with transaction.atomic(using=settings().DATABASE), connection().cursor() as cursor:
        key = find_key(cursor, flow_key)
        if key is None or not key.is_known:
            return None
        return _settle(cursor, key, load_of(cursor, key))[1]


def first_in_line(flow_key: str) -> tuple[str, list[Wake]] | None:
    """Return the first run in line that is not due, and its wake-up; None without one."""
    with connection().cursor() as cursor:
        cursor.execute(
            f"SELECT t.run_id, d.id FROM {TICKET} t {with_delivery()} WHERE t.flow_key = %s "
            "AND t.state = 'waiting' AND d.due_at IS NULL ORDER BY t.priority DESC, t.id LIMIT 1",
            (flow_key,),
        )
        row = cursor.fetchone()
    return None if row is None else (row[0], [Wake(row[1])])


@repeated
def announce(control: FlowControl) -> list[Wake]:
    """Let limits hold that a trigger has named, and give what is free; return whom to wake."""
    with transaction.atomic(using=settings().DATABASE), connection().cursor() as cursor:
        key = _lock(cursor, control)
        return _settle(cursor, key, load_of(cursor, key))[1]


@repeated
def wake(woken: Sequence[Wake]) -> int:
    """Make deliveries due, each in a statement of its own; return how many are due at once."""
    speak = dialect()
    at_once = 0
    with connection().cursor() as cursor:
        for one in woken:
            if one.at is None:
                due, values = speak.now()
                at_once += 1
            else:
                due, values = "%s", (speak.literal(one.at),)
                if connection().vendor == "postgresql":
                    due = "CAST(%s AS timestamptz)"
            cursor.execute(
                f"UPDATE {DELIVERY} SET wakes = wakes + 1, due_at = CASE WHEN leased_by <> '' THEN due_at ELSE {due} END "
                f"WHERE id = %s AND (leased_by <> '' OR due_at IS NULL OR due_at > {due})",
                (*values, one.delivery_id, *values),
            )
    return at_once
