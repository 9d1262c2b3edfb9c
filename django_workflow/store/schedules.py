"""Schedules: made, changed, fired.

What is kept here: (1) a slot is fired by the one UPDATE that moves the schedule on from it, in the transaction that
inserts its run: whoever comes second finds another slot; (2) whatever changes a schedule raises its revision, which
that UPDATE names too; (3) a run's id is made of schedule and slot, so a slot of a schedule that was deleted and made
again is not fired twice; (4) the schedule's row is locked before any delivery.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.db import transaction
from django.db.models import F

from django_workflow.at_rest.vault import sealed
from django_workflow.conf import settings
from django_workflow.core.crons import Cron
from django_workflow.models import Delivery, Run, Schedule, ScheduledRun, TriggerKey
from django_workflow.store import runs, singleton_lines, trigger_keys, triggers
from django_workflow.store.claims import now as database_now
from django_workflow.store.repeating import repeated
from django_workflow.store.sql import connection, dialect
from django_workflow.store.triggers import NewRun

SCHEDULE = Schedule._meta.db_table
#: How many schedules one sweep looks at.
SWEPT = 500


class Slot(NamedTuple):
    """A slot to be fired, and the run that it starts."""

    at: datetime
    run: NewRun
    #: The key under which its workflow has one run at a time, and what is done while there is one.
    singleton: tuple[str, str] | None = None


class Fired(NamedTuple):
    """What firing has come to: the runs that were started, and those that were cancelled for them."""

    started: list[str]
    cancelled: list[str]
    #: The run that stands for one that was not started, as its workflow is a singleton.
    standing: str = ""


NOTHING = Fired([], [])


def _rows(schedule_id: str) -> Any:
    return Schedule.objects.using(settings().DATABASE).filter(pk=schedule_id)


def find(schedule_id: str) -> Schedule | None:
    """Return the schedule, or None."""
    return _rows(schedule_id).first()  # type: ignore[no-any-return]


def _planned(plan: Cron, schedule_id: str, moment: datetime) -> dict[str, Any]:
    slot = plan.next_after(moment)
    return {"slot_at": slot, "due_at": plan.due_at(slot, schedule_id)}


def _fields(plan: Cron) -> dict[str, Any]:
    return {
        "cron": plan.expression,
        "timezone": plan.timezone,
        "overlap": plan.overlap,
        "catch_up": plan.catch_up,
        "jitter": plan.jitter,
    }


def insert(
    schedule_id: str, workflow: str, plan: Cron, template_text: str, *, declared: bool
) -> bool:
    """Insert a schedule, in the caller's transaction. Returns False if there is one under this id."""
    moment = database_now()
    row = Schedule(
        id=schedule_id,
        workflow=workflow,
        template_text=sealed(template_text),
        is_declared=declared,
        created_at=moment,
        **_fields(plan),
        **_planned(plan, schedule_id, moment),
    )
    fields = Schedule._meta.concrete_fields
    speak = dialect()
    values = [field.get_db_prep_save(getattr(row, field.attname), connection()) for field in fields]
    columns = speak.columns([str(field.column) for field in fields])
    with connection().cursor() as cursor:
        # Not caught as an IntegrityError, which would poison the caller's transaction.
        cursor.execute(
            f"{speak.ignore} {SCHEDULE} ({columns}) VALUES ({', '.join(['%s'] * len(values))}){speak.ignore_tail}",
            values,
        )
        return bool(cursor.rowcount)


def change(schedule: Schedule, plan: Cron, template_text: str, *, anew: bool = False) -> bool:
    """Give a schedule another plan or payload; its next slot stays unless the time itself is another one.

    Returns False if somebody else has changed it meanwhile.
    """
    changes = {
        **_fields(plan),
        "template_text": sealed(template_text),
        "revision": F("revision") + 1,
    }
    is_other = (plan.expression, plan.timezone) != (schedule.cron, schedule.timezone)
    if anew or is_other or plan.jitter != schedule.jitter:
        moment = database_now()
        planned = _planned(plan, schedule.id, moment)
        if not anew and not is_other:
            planned = {"due_at": plan.due_at(schedule.slot_at, schedule.id)}
        if schedule.is_paused:
            planned["due_at"] = None
        changes |= planned
    return bool(_rows(schedule.id).filter(revision=schedule.revision).update(**changes))


def pause(schedule_id: str) -> bool:
    """Fire no more slots. Returns False if there is no such schedule."""
    return bool(
        _rows(schedule_id).update(
            is_paused=True, due_at=None, queued_for=None, revision=F("revision") + 1
        )
    )


def resume(schedule: Schedule) -> bool:
    """Fire the slots from now on. Returns False if it was changed meanwhile."""
    changes = _planned(schedule.plan, schedule.id, database_now())
    return bool(
        _rows(schedule.id)
        .filter(revision=schedule.revision)
        .update(is_paused=False, revision=F("revision") + 1, **changes)
    )


def delete(schedule_id: str) -> bool:
    """Delete a schedule; its runs stay. Returns False if there is none."""
    return bool(_rows(schedule_id).delete()[0])


def declared() -> dict[str, Schedule]:
    """Return the schedules that were declared in code, by id."""
    found = Schedule.objects.using(settings().DATABASE).filter(is_declared=True)
    return {schedule.id: schedule for schedule in found}


def due(only: Collection[str] | None = None) -> list[Schedule]:
    """Return schedules with a slot to fire, the longest overdue first; ``only`` names those to look at."""
    found = Schedule.objects.using(settings().DATABASE).due(database_now())
    if only is not None:
        found = found.filter(pk__in=only)
    return list(found.order_by("due_at", "id")[:SWEPT])


@repeated
def fire(schedule: Schedule, slots: Sequence[Slot], passed: datetime) -> Fired:
    """Fire these slots, the oldest first, and move the schedule on beyond the last that has come: all or nothing.

    Nothing too if somebody else has fired or changed the schedule meanwhile.
    """
    changes: dict[str, Any] = _planned(schedule.plan, schedule.id, passed)
    if not slots:
        changes["note"] = (
            f"The slot of {passed:%Y-%m-%d %H:%M} UTC was missed, and is not caught up."
        )
    else:
        changes |= {"last_slot_at": slots[-1].at, "note": ""}
    with transaction.atomic(using=settings().DATABASE):
        held = _rows(schedule.id).filter(
            slot_at=schedule.slot_at, revision=schedule.revision, is_paused=False
        )
        if not held.update(**changes):
            return NOTHING
        return _start(schedule, list(slots))


@repeated
def fire_queued(schedule: Schedule, slot: Slot) -> Fired:
    """Fire the slot that waits, if the run before it has ended."""
    # What has ended has ended: it is looked at before the transaction, which must begin with a write on SQLite.
    if unfinished(schedule.id):
        return NOTHING
    with transaction.atomic(using=settings().DATABASE):
        held = _rows(schedule.id).filter(
            queued_for=slot.at, revision=schedule.revision, is_paused=False
        )
        return _insert(schedule, [slot]) if held.update(queued_for=None) else NOTHING


@repeated
def fire_now(schedule: Schedule, slot: Slot) -> Fired:
    """Start a run besides the slots."""
    with transaction.atomic(using=settings().DATABASE):
        # A write before all else, as SQLite's transactions need it; and a lock against deletion.
        _rows(schedule.id).update(note=F("note"))
        return _insert(schedule, [slot])


def unfinished(schedule_id: str) -> list[str]:
    """Return the ids of the runs of a schedule that have not come to an end, in the order of their turns."""
    alias = settings().DATABASE
    started = ScheduledRun.objects.using(alias).filter(schedule_id=schedule_id)
    found = Run.objects.using(alias).unfinished_or_paused().filter(scheduled__in=started)
    turns = Delivery.objects.using(alias).filter(run__in=found, step_key="").order_by("pk")
    return list(turns.values_list("run_id", flat=True))


def _start(schedule: Schedule, slots: list[Slot]) -> Fired:
    """Do what the policy says of slots that have come, under the lock of the schedule's row."""
    if not slots:
        return NOTHING
    if schedule.overlap == "allow":
        return _insert(schedule, slots)
    if schedule.overlap == "cancel_previous":
        cancelled = [run for run in unfinished(schedule.id) if runs.cancel(run) is None]
        fired = _insert(schedule, slots[-1:])
        return fired._replace(cancelled=cancelled + fired.cancelled)
    alive = unfinished(schedule.id)
    fired, left = (NOTHING, slots) if alive else (_insert(schedule, slots[:1]), slots[1:])
    before = alive[-1] if alive else slots[0].run.id
    if schedule.overlap == "queue" and left:
        # Asked of the row: another sweep may have fired the one that waited when this one looked.
        free = _rows(schedule.id).filter(queued_for=None)
        left = left[free.update(queued_for=left[0].at) :]
    if left:
        note = (
            f"The slot of {left[-1].at:%Y-%m-%d %H:%M} UTC was skipped: run {before} had not ended."
        )
        _rows(schedule.id).update(skipped=F("skipped") + len(left), note=note)
    return fired


def _insert(schedule: Schedule, slots: Sequence[Slot]) -> Fired:
    if not slots or slots[0].singleton is None:
        return _insert_runs(schedule, slots)
    started: list[str] = []
    cancelled: list[str] = []
    standing = ""
    for slot in slots:
        fired = _insert_single(schedule, slot, *(slot.singleton or ("", "")))
        started, cancelled = started + fired.started, cancelled + fired.cancelled
        standing = fired.standing
    return Fired(started, cancelled, standing)


def _insert_single(schedule: Schedule, slot: Slot, key: str, on_conflict: str) -> Fired:
    """Insert the run of a slot as the singleton of its workflow has it, under the lock of the key's row."""
    row = trigger_keys.locked(TriggerKey.Kind.SINGLETON, schedule.workflow, key)
    held = trigger_keys.unfinished_run_of(row)
    cancelled = []
    if held is not None and held.id != slot.run.id and on_conflict == "queue":
        singleton_lines.adopt(held.id, slot.run.singleton_line or "", database_now())
    elif held is not None and held.id != slot.run.id:
        if on_conflict != "replace":
            note = f"The slot of {slot.at:%Y-%m-%d %H:%M} UTC was skipped: run {held.id} is the only one of its workflow."
            _rows(schedule.id).update(skipped=F("skipped") + 1, note=note)
            return Fired([], [], held.id)
        if runs.cancel(held.id, why="replaced") is None:
            cancelled = [held.id]
    fired = _insert_runs(schedule, [slot])
    if fired.started:
        trigger_keys.assign(row, slot.run.id, database_now())
    return fired._replace(cancelled=cancelled)


def _insert_runs(schedule: Schedule, slots: Sequence[Slot]) -> Fired:
    created = triggers.insert([slot.run for slot in slots])
    alias = settings().DATABASE
    ScheduledRun.objects.using(alias).bulk_create(
        ScheduledRun(run_id=slot.run.id, schedule_id=schedule.id, slot_at=slot.at)
        for slot in slots
        if slot.run.id in created
    )
    if created:
        _rows(schedule.id).update(last_run_id=slots[-1].run.id)
    return Fired(list(created), [])


def set_note(schedule: Schedule, note: str) -> bool:
    """Say why a slot cannot be fired. Returns False if that has been said already."""
    return bool(_rows(schedule.id).exclude(note=note).update(note=note))


def replan(schedule: Schedule) -> None:
    """Let a schedule begin from now, as if it had just been made: the sandbox's clock is another one."""
    _rows(schedule.id).update(
        queued_for=None, is_paused=False, **_planned(schedule.plan, schedule.id, database_now())
    )
