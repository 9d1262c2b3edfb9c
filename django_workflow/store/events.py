"""Events: sent, matched with those who wait for them, and waits whose time is over.

What is kept here: (1) sending and waiting only insert rows; they meet in a transaction of their own, made by both
sides after their commit and by the sweep for what nobody has tried; (2) only one transaction at a time matches an
event: it holds the event's row, and a spent event is never matched again; (3) an event and a timeout end a wait by
the same conditional UPDATE of its step, under the lock of the turn; (4) locks are taken in one order: the event, then
turns by their ids, then steps, then waiters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from json import dumps
from typing import Any, NamedTuple

from django.db import transaction

from django_workflow.at_rest.vault import kept
from django_workflow.conf import settings
from django_workflow.core.types import StepStatus
from django_workflow.models import Event, Step, Waiter
from django_workflow.store.claims import now as database_now
from django_workflow.store.records import fenced, moved
from django_workflow.store.repeating import repeated
from django_workflow.store.rows import DELIVERY, STEP, Claim, Recorded, StepRow, moment_of
from django_workflow.store.sql import connection, dialect
from django_workflow.store.waiters import WAITER

EVENT = Event._meta.db_table
CHUNK = 200


class NewEvent(NamedTuple):
    """An event to be sent."""

    event_id: str
    data_text: str
    run_id: str | None = None
    keep: bool = True
    #: The idempotency key of the step that sends it.
    sent_by: str | None = None


class _Open(NamedTuple):
    """A waiter whose step is open, under the lock of its run's turn."""

    id: int
    run_id: str
    step_key: str
    needed: int
    step_id: int
    schema: str
    turn: int


#: Tells what is recorded of data under a schema; None where they do not fit.
Judge = Callable[[str, str | None], str | None]


def _refuse(schema: str, data_text: str | None) -> None:
    """Let no data fit: for who knows of no schema."""


class _UnjudgedError(Exception):
    """Ends the transaction of a match in which a schema is met that was not asked yet."""

    def __init__(self, schemas: set[str], data_text: str | None) -> None:
        super().__init__()
        self.schemas = schemas
        self.data_text = data_text


def send(new: NewEvent) -> Event:
    """Insert an event, in the caller's transaction."""
    moment = database_now()
    return Event.objects.using(settings().DATABASE).create(
        **new._replace(data_text=kept(new.data_text))._asdict(),
        created_at=moment,
        expires_at=moment + settings().EVENT_RETENTION,
    )


@repeated
def send_under(claim: Claim, new: NewEvent) -> Event:
    """Insert a step's event, or find the one that an earlier attempt of the step has sent.

    Raises:
        DeliveryFencedError: the claim is stale; nothing was written.
    """
    alias = settings().DATABASE
    with transaction.atomic(using=alias):
        with connection().cursor() as cursor:
            cursor.execute(
                f"UPDATE {DELIVERY} SET begun = begun WHERE id = %s AND token = %s",
                (claim.delivery_id, claim.token),
            )
            if not cursor.rowcount:
                raise fenced(claim, f'Event "{new.event_id}"')
        return Event.objects.using(alias).filter(sent_by=new.sent_by).first() or send(new)


def match(event_pk: int, judge: Judge = _refuse) -> set[str]:
    """Give an event to all who wait for it now, if it is not spent; return the runs that it reached.

    Reached nobody, it stays for a later wait, unless it is not to be kept. ``judge`` is asked about the data for each
    schema among the waiters, outside the transaction; who refuses them goes on waiting.
    """
    judged: dict[str, str | None] = {}
    while True:
        try:
            return _match(event_pk, judged)
        except _UnjudgedError as found:
            judged |= {schema: kept(judge(schema, found.data_text)) for schema in found.schemas}


@repeated
def _match(event_pk: int, judged: Mapping[str, str | None]) -> set[str]:
    alias = settings().DATABASE
    with transaction.atomic(using=alias), connection().cursor() as cursor:
        # The lock; a write, because SQLite's transactions must begin with one.
        cursor.execute(
            f"UPDATE {EVENT} SET tried_at = tried_at WHERE id = %s AND matched_at IS NULL",
            (event_pk,),
        )
        if not cursor.rowcount:
            return set()
        event = Event.objects.using(alias).get(pk=event_pk)
        found = Waiter.objects.using(alias).reached_by(event).turns()
        reached: set[str] = set()
        for start in range(0, len(found), CHUNK):
            reached |= _reach(cursor, event, found[start : start + CHUNK], judged)
        moment = database_now()
        is_spent = bool(reached) or not event.keep
        Event.objects.using(alias).filter(pk=event_pk).update(
            tried_at=moment, matched_at=moment if is_spent else None, reached=len(reached)
        )
    return reached


def _reach(
    cursor: Any,
    event: Event,
    found: Sequence[tuple[int, int]],
    judged: Mapping[str, str | None],
) -> set[str]:
    """Fill these waiters, given with the turns of their runs, as far as they still wait."""
    if connection().features.has_select_for_update:
        turns = sorted({turn for _, turn in found})
        cursor.execute(
            f"SELECT id FROM {DELIVERY} WHERE id IN ({_marks(turns)}) ORDER BY id FOR UPDATE", turns
        )
    waiting = _still_open(cursor, found)
    reached: set[str] = set()
    for schema, those in _by_schema(waiting, judged, event).items():
        data_text = judged[schema] if schema else event.data_text
        text = result_text([(event.event_id, data_text)])
        for group in _rounds(one for one in those if one.needed == 1):
            _record(cursor, group, text)
        for one in those:
            if one.needed > 1:
                _fill(cursor, event.event_id, data_text, one)
        reached |= {one.run_id for one in those}
    return reached


def _by_schema(
    waiting: Iterable[_Open], judged: Mapping[str, str | None], event: Event
) -> dict[str, list[_Open]]:
    """Sort waiters by schema, those aside whose schema the data do not fit."""
    found: dict[str, list[_Open]] = {}
    for one in waiting:
        found.setdefault(one.schema, []).append(one)
    unjudged = set(found) - set(judged) - {""}
    if unjudged:
        raise _UnjudgedError(unjudged, event.data_text)
    return {
        schema: those for schema, those in found.items() if not schema or judged[schema] is not None
    }


def _still_open(cursor: Any, found: Sequence[tuple[int, int]]) -> list[_Open]:
    """Return those of these waiters, given with the turns of their runs, whose steps still wait; in the order given."""
    key = dialect().name("key")
    # Looked up one by one, as in `WaiterQuerySet.turns()`, and by the id alone: no statistics can make this slow.
    cursor.execute(
        f"SELECT w.id, w.run_id, w.step_key, w.needed, (SELECT s.id FROM {STEP} s WHERE s.run_id = w.run_id "
        f"AND s.{key} = w.step_key AND s.sequence IS NULL AND s.status = 'waiting'), w.schema, w.filled "
        f"FROM {WAITER} w WHERE w.id IN ({_marks(found)})",
        [waiter for waiter, _ in found],
    )
    rows = {row[0]: row for row in cursor.fetchall()}
    return [
        _Open._make([*rows[waiter][:-1], turn])
        for waiter, turn in found
        if waiter in rows and rows[waiter][4] is not None and rows[waiter][6] is None
    ]


def _rounds(waiting: Iterable[_Open]) -> list[list[_Open]]:
    """Sort waiters so that no round holds two of one run: each record needs a number of its own."""
    seen: Counter[str] = Counter()
    rounds: dict[int, list[_Open]] = {}
    for one in waiting:
        rounds.setdefault(seen[one.run_id], []).append(one)
        seen[one.run_id] += 1
    return list(rounds.values())


def _record(cursor: Any, waiting: Sequence[_Open], text: str) -> None:
    """Record the same result for waits of different runs: wake their turns, take the numbers, write the steps."""
    speak = dialect()
    now, values = speak.now()
    turns = [one.turn for one in waiting]
    cursor.execute(
        f"UPDATE {DELIVERY} SET wakes = wakes + 1, due_at = CASE WHEN leased_by = '' THEN {now} ELSE due_at END "
        f"WHERE id IN ({_marks(turns)})",
        (*values, *turns),
    )
    cursor.execute(
        f"UPDATE {STEP} SET status = %s, result_text = %s, finished_at = {now}, sequence = (SELECT d.wakes "
        f"FROM {DELIVERY} d WHERE d.run_id = {STEP}.run_id AND d.step_key = '') "
        f"WHERE id IN ({_marks(waiting)}) AND sequence IS NULL AND (status = 'waiting') IS TRUE",
        (str(StepStatus.COMPLETED), text, *values, *(one.step_id for one in waiting)),
    )
    cursor.execute(
        f"DELETE FROM {WAITER} WHERE run_id IN ({_marks(waiting)}) "
        f"AND (run_id, step_key) IN ({', '.join(['(%s, %s)'] * len(waiting))})",
        [one.run_id for one in waiting]
        + [value for one in waiting for value in (one.run_id, one.step_key)],
    )


def _fill(cursor: Any, event_id: str, data_text: str | None, one: _Open) -> None:
    """Fill one of several waiters of a step, and record the step when there are enough."""
    arrived = _arrived(cursor, one.run_id, one.step_key)
    cursor.execute(
        f"UPDATE {WAITER} SET filled = %s, data_text = %s WHERE id = %s AND filled IS NULL",
        (len(arrived) + 1, data_text, one.id),
    )
    arrived.append((event_id, data_text))
    if len(arrived) == one.needed:
        _record(cursor, [one], result_text(arrived))


def _arrived(cursor: Any, run_id: str, key: str) -> list[tuple[str, str | None]]:
    cursor.execute(
        f"SELECT event_id, data_text FROM {WAITER} WHERE run_id = %s AND step_key = %s AND filled IS NOT NULL "
        "ORDER BY filled",
        (run_id, key),
    )
    return [(row[0], row[1]) for row in cursor.fetchall()]


def result_text(arrived: Sequence[tuple[str, str | None]], *, timed_out: bool = False) -> str:
    """Return what is recorded of a wait, from the stored data of the events that arrived."""
    events = ",".join(
        f'{{"event_id":{dumps(event_id)},"event_data":{"null" if data is None else data}}}'
        for event_id, data in arrived
    )
    return f'{{"timed_out":{"true" if timed_out else "false"},"events":[{events}]}}'


@repeated
def time_out(claim: Claim, row: StepRow) -> tuple[Recorded, str] | None:
    """Record that the time of a wait is over, with what has arrived of several events; None if an event came first.

    Raises:
        DeliveryFencedError: the claim is stale; nothing was written.
    """
    speak = dialect()
    with transaction.atomic(using=settings().DATABASE), connection().cursor() as cursor:
        sequence = speak.fence(
            cursor, claim.delivery_id, claim.token, claim.run_id, is_turn=claim.is_turn
        )
        if not sequence:
            raise fenced(claim, f'Step "{row.name}"')
        text = result_text(_arrived(cursor, claim.run_id, row.key), timed_out=True)
        over = replace(row, result_text=text)
        if not speak.write_step(cursor, claim.run_id, over, sequence):
            return None
        cursor.execute(
            f"DELETE FROM {WAITER} WHERE run_id = %s AND step_key = %s", (claim.run_id, row.key)
        )
        cursor.execute(
            f"SELECT finished_at FROM {STEP} WHERE run_id = %s AND {speak.name('key')} = %s",
            (claim.run_id, row.key),
        )
        done = Recorded(sequence, moment_of(cursor.fetchone()[0]))
    return moved(claim, done, 1), text


def was_sent(key: str) -> bool:
    """Tell whether a step has sent its event under this idempotency key."""
    return Event.objects.using(settings().DATABASE).filter(sent_by=key).exists()


def waiters_for(event_id: str) -> list[tuple[Waiter, Step]]:
    """Return who waits for an event, the longest first, each with its step."""
    alias = settings().DATABASE
    found = list(
        Waiter.objects.using(alias)
        .open()
        .filter(event_id=event_id)
        .select_related("run")
        .order_by("created_at", "pk")
    )
    steps = Step.objects.using(alias).filter(
        run_id__in={one.run_id for one in found},
        key__in={one.step_key for one in found},
        status=StepStatus.WAITING,
    )
    by_key = {(step.run_id, step.key): step for step in steps}
    return [
        (one, by_key[one.run_id, one.step_key])
        for one in found
        if (one.run_id, one.step_key) in by_key
    ]


def match_waiter(waiter: Waiter, judge: Judge = _refuse) -> set[str]:
    """Look in the mailbox for an event for this waiter, the oldest first; return the runs that were reached."""
    alias = settings().DATABASE
    reached: set[str] = set()
    last = 0
    while waiter.run_id not in reached:
        kept = Event.objects.using(alias).kept(database_now()).wanted_by(waiter)
        found = kept.filter(pk__gt=last).order_by("pk").values_list("pk", flat=True).first()
        if found is None:
            break
        last = found
        reached |= match(found, judge)
    Waiter.objects.using(alias).filter(pk=waiter.pk, tried_at=None).update(tried_at=database_now())
    return reached


def waiters_of(run_id: str, key: str | None = None) -> list[Waiter]:
    """Return the open waiters of a run: of one step, or those for which nobody has looked in the mailbox."""
    found = Waiter.objects.using(settings().DATABASE).open().filter(run_id=run_id).order_by("pk")
    return list(found.filter(tried_at=None) if key is None else found.filter(step_key=key))


def untried_before(event: Event) -> list[int]:
    """Return the events of the same id that came before this one, and that nobody has tried to match."""
    found = Event.objects.using(settings().DATABASE).filter(
        event_id=event.event_id, matched_at=None, tried_at=None, pk__lt=event.pk
    )
    return list(found.order_by("pk").values_list("pk", flat=True))


def untried(limit: int) -> tuple[list[int], list[Waiter]]:
    """Return the oldest events and waiters that nobody has tried to match: their process has died before it could."""
    alias = settings().DATABASE
    events = Event.objects.using(alias).filter(tried_at=None, matched_at=None).order_by("pk")
    waiters = Waiter.objects.using(alias).open().filter(tried_at=None).order_by("pk")
    return list(events.values_list("pk", flat=True)[:limit]), list(waiters[:limit])


@repeated
def delete_expired(limit: int) -> int:
    """Delete the oldest events whose time is over; return how many."""
    found = Event.objects.using(settings().DATABASE).filter(expires_at__lte=database_now())
    ids = list(found.order_by("expires_at").values_list("pk", flat=True)[:limit])
    if not ids:
        return 0
    return Event.objects.using(settings().DATABASE).filter(pk__in=ids).delete()[0]


def _marks(values: Sequence[Any]) -> str:
    return ", ".join(["%s"] * len(values))


__all__ = [
    "NewEvent",
    "delete_expired",
    "match",
    "match_waiter",
    "result_text",
    "send",
    "send_under",
    "time_out",
    "untried",
    "untried_before",
    "waiters_for",
    "waiters_of",
    "was_sent",
]
