"""Steps: registered, recorded, retried; attempts kept; the journal loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db import transaction

from django_workflow.at_rest.vault import kept, sealed
from django_workflow.conf import settings
from django_workflow.core.exceptions import DeliveryFencedError
from django_workflow.core.journal import Record
from django_workflow.core.types import StepStatus
from django_workflow.models import Attempt
from django_workflow.store.claims import FREE
from django_workflow.store.repeating import repeated
from django_workflow.store.rows import DELIVERY, STEP, Claim, Recorded, StepRow, moment_of
from django_workflow.store.sql import Postgres, connection, dialect


class AttemptRow(NamedTuple):
    """A try that did not become the result."""

    step_key: str
    number: int
    outcome: str
    failure_text: str | None = None
    result_text: str | None = None
    took: timedelta = timedelta(0)


def load(run_id: str, after: int = 0, *, targets: Sequence[str] = ()) -> list[Record]:
    """Return the records of a run beyond a sequence number, and all open steps after them.

    With ``targets``, of the open ones those alone: each step of a fan-out would read all the others.
    """
    among = f" AND {dialect().name('key')} IN ({_places(targets)})" if targets else ""
    with connection().cursor() as cursor:
        cursor.execute(
            f"SELECT {_record_columns()} FROM {STEP} WHERE run_id = %s AND (sequence > %s OR sequence IS NULL{among})",
            (run_id, after, *targets),
        )
        return _records(list(cursor.fetchall()))


def load_all(run_ids: Sequence[str]) -> dict[str, list[Record]]:
    """Return the records of several runs, and their open steps after them, by the id of their run: one statement."""
    found: dict[str, list[Any]] = {run_id: [] for run_id in run_ids}
    with connection().cursor() as cursor:
        cursor.execute(
            f"SELECT {_record_columns()}, run_id FROM {STEP} WHERE run_id IN ({_places(run_ids)})",
            run_ids,
        )
        for row in cursor.fetchall():
            found[row[-1]].append(row)
    return {run_id: _records(rows) for run_id, rows in found.items()}


def _places(values: Sequence[str]) -> str:
    return ", ".join(["%s"] * len(values))


def _record_columns() -> str:
    return (
        f"{dialect().name('key')}, name, branch, kind, status, sequence, arguments_text, result_text, failure_text, attempts, "
        "delivered, wake_at, finished_at, id"
    )


def _records(rows: list[Any]) -> list[Record]:
    # In sequence; what is open stands behind, in the order in which it was met.
    rows.sort(key=lambda row: (row[5] is None, row[5] or row[13]))
    if (
        rows
        and isinstance(rows[0][12] or rows[-1][11], datetime)
        and (rows[0][12] or rows[-1][11]).tzinfo
    ):
        return [Record._make(row[:13]) for row in rows]
    return [Record._make((*row[:11], moment_of(row[11]), moment_of(row[12]))) for row in rows]


def fenced(claim: Claim, what: str) -> DeliveryFencedError:
    """Return the error for a write under a stale token."""
    return DeliveryFencedError(
        f"{what} of run {claim.run_id} was refused: the delivery was taken over or the run has ended.",
        delivery_id=claim.delivery_id,
        token=claim.token,
    )


@repeated
def record(
    claim: Claim,
    row: StepRow,
    *,
    markers: Sequence[StepRow] = (),
    attempt: AttemptRow | None = None,
) -> Recorded:
    """Write a step's result with the run's next sequence number: the moment at which it counts.

    A step delivery ends with it, and the turn is woken. ``markers`` and the failed ``attempt`` commit with it.

    Raises:
        DeliveryFencedError: the claim is stale; nothing was written.
    """
    if markers or attempt is not None:
        with transaction.atomic(using=settings().DATABASE):
            for marker in markers:
                record_step(_turn_of(claim), marker)
            if attempt is not None:
                keep_attempt(claim, attempt)
            return moved(claim, record_step(claim, row), len(markers) + 1)
    return moved(claim, record_step(claim, row), 1)


def _turn_of(claim: Claim) -> Claim:
    """Return the claim as it is; markers are only written by the holder of the turn."""
    if not claim.is_turn:
        raise fenced(claim, "A marker under a step delivery")
    return claim


def moved(claim: Claim, done: Recorded, own: int) -> Recorded:
    """Remember the counter that this holder's own record has raised."""
    # Others' wakes in between leave the remembered counter behind, and the turn is due again when it is given back.
    if claim.is_turn and done.sequence == claim.wakes + own:
        claim.wakes = done.sequence
    return done


def record_step(claim: Claim, row: StepRow) -> Recorded:
    speak = dialect()
    if isinstance(speak, Postgres):
        with connection().cursor() as cursor:
            found = speak.record(cursor, claim.delivery_id, claim.token, row, is_turn=claim.is_turn)
        if found is None:
            raise fenced(claim, f'Step "{row.name}"')
        return Recorded(found[0], found[1])
    with (
        transaction.atomic(using=settings().DATABASE, savepoint=False),
        connection().cursor() as cursor,
    ):
        sequence = speak.fence(
            cursor, claim.delivery_id, claim.token, claim.run_id, is_turn=claim.is_turn
        )
        if sequence and speak.write_step(cursor, claim.run_id, row, sequence):
            cursor.execute(
                f"SELECT finished_at FROM {STEP} WHERE run_id = %s AND {speak.name('key')} = %s",
                (claim.run_id, row.key),
            )
            return Recorded(sequence, moment_of(cursor.fetchone()[0]))
    # Not raised inside: a delivery of a step that is recorded already ends, as it does in PostgreSQL's one statement.
    raise fenced(claim, f'Step "{row.name}"')


@repeated
def record_together(ended: Sequence[tuple[Claim, StepRow]]) -> list[Recorded | None]:
    """Write the results of several step deliveries of one run in one transaction, each under its own token.

    None stands for a result whose claim is stale: nothing of it was written, and it concerns no other.
    """
    speak = dialect()
    if isinstance(speak, Postgres):
        return _record_in_one(speak.record_together, ended)
    with transaction.atomic(using=settings().DATABASE):
        with connection().cursor() as cursor:
            # The first record locks the turn, and nobody may wait for a step's delivery who holds that.
            ids = [claim.delivery_id for claim, _ in ended]
            speak.lock_deliveries(cursor, ended[0][0].run_id, ids)
        return [_record_or_none(claim, row) for claim, row in ended]


def record_of_turns(ended: Sequence[tuple[Claim, StepRow]]) -> list[Recorded | None]:
    """Write a step of each of several runs in one transaction, each under the token of its turn.

    None stands for a step whose claim is stale, or which has its record: nothing of it was written.
    """
    found = _record_of_turns(ended)
    for (claim, _), done in zip(ended, found, strict=True):
        if done is not None:
            moved(claim, done, 1)
    return found


@repeated
def _record_of_turns(ended: Sequence[tuple[Claim, StepRow]]) -> list[Recorded | None]:
    speak = dialect()
    if isinstance(speak, Postgres):
        return _record_in_one(speak.record_of_turns, ended)
    done: dict[str, Recorded | None] = {}
    with transaction.atomic(using=settings().DATABASE):
        # One turn after the other, in everybody's order.
        for claim, row in sorted(ended, key=lambda one: one[0].delivery_id):
            done[claim.run_id] = _record_or_none(claim, row)
    return [done[claim.run_id] for claim, _ in ended]


def _record_in_one(
    record_all: Callable[..., dict[tuple[str, str], Recorded]],
    ended: Sequence[tuple[Claim, StepRow]],
) -> list[Recorded | None]:
    held = [(claim.delivery_id, claim.token, row) for claim, row in ended]
    with connection().cursor() as cursor:
        found = record_all(cursor, held)
    return [found.get((claim.run_id, row.key)) for claim, row in ended]


def _record_or_none(claim: Claim, row: StepRow) -> Recorded | None:
    try:
        return record_step(claim, row)
    except DeliveryFencedError:
        return None


@repeated
def put_off(
    claim: Claim,
    row: StepRow,
    attempt: AttemptRow | None,
    *,
    ends: bool = True,
    markers: Sequence[StepRow] = (),
) -> None:
    """Write an open step after an attempt, keep the attempt, and write the markers met before it.

    With ``ends``, a step delivery is due again when the step wakes; the holder of a turn keeps its claim.

    Raises:
        DeliveryFencedError: the claim is stale; nothing was written.
    """
    speak = dialect()
    with transaction.atomic(using=settings().DATABASE), connection().cursor() as cursor:
        if claim.is_turn or not ends:
            cursor.execute(
                f"UPDATE {DELIVERY} SET tries = 1, deaths = 0, begun = '', trouble = '' WHERE id = %s AND token = %s",
                (claim.delivery_id, claim.token),
            )
        else:
            later, values = speak.now(row.wakes_in or timedelta(0))
            cursor.execute(
                f"UPDATE {DELIVERY} SET due_at = {later}, {FREE}, tries = 0, deaths = 0, trouble = '' "
                "WHERE id = %s AND token = %s",
                (*values, claim.delivery_id, claim.token),
            )
        if not cursor.rowcount:
            raise fenced(claim, f'An attempt of step "{row.name}"')
        for marker in markers:
            moved(claim, record_step(claim, marker), 1)
        # The row may or may not be there: a body that outlasts its timeout is written for the first time here.
        speak.write_step(cursor, claim.run_id, replace(row, registered=True), None)
        if attempt is not None:
            keep_attempt(claim, attempt)


def keep_attempt(claim: Claim, attempt: AttemptRow) -> None:
    """Keep a try that did not become the result, for the timeline."""
    keep(claim.run_id, attempt, worker="")


@repeated
def keep(run_id: str, attempt: AttemptRow, *, worker: str) -> None:
    """Insert an attempt row; times are the database's."""
    speak = dialect()
    now, values = speak.now()
    started, started_values = speak.now(-attempt.took)
    table = Attempt._meta.db_table
    with connection().cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} (run_id, step_key, number, outcome, failure_text, result_text, started_at, finished_at, worker) "
            f"VALUES (%s, %s, %s, %s, %s, %s, {started}, {now}, %s)",
            (
                run_id,
                attempt.step_key,
                attempt.number,
                attempt.outcome,
                sealed(attempt.failure_text),
                kept(attempt.result_text),
                *started_values,
                *values,
                worker,
            ),
        )


def is_recorded(run_id: str, key: str, sequence: int) -> bool:
    """Tell whether this very record is in the journal: what decides when the outcome of a COMMIT is unknown."""
    with connection().cursor() as cursor:
        cursor.execute(
            f"SELECT sequence FROM {STEP} WHERE run_id = %s AND {dialect().name('key')} = %s",
            (run_id, key),
        )
        row = cursor.fetchone()
    return row is not None and row[0] == sequence


@repeated
def died(claim: Claim, *, at: str) -> int:
    """Charge the death of the previous holder to the step it had begun; return how many in a row.

    Raises:
        DeliveryFencedError: the claim is stale.
    """
    with transaction.atomic(using=settings().DATABASE), connection().cursor() as cursor:
        cursor.execute(
            f"UPDATE {DELIVERY} SET deaths = deaths + 1, begun = '' WHERE id = %s AND token = %s",
            (claim.delivery_id, claim.token),
        )
        if not cursor.rowcount:
            raise fenced(claim, "The count of deaths")
        claim.deaths += 1
        claim.begun = ""
        keep_attempt(claim, AttemptRow(at, claim.deaths, Attempt.Outcome.DIED))
    return claim.deaths


OPEN = tuple(
    str(status)
    for status in (
        StepStatus.PENDING,
        StepStatus.EXECUTING,
        StepStatus.RETRYING,
        StepStatus.SLEEPING,
        StepStatus.WAITING,
    )
)
