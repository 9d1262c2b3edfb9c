"""Sleeps: registered with the moment at which they are over; one that is over already is recorded at once."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from django_workflow.core.journal import Record
from django_workflow.core.steps import PatchStep, SleepStep, SleepUntilStep
from django_workflow.core.types import StepStatus
from django_workflow.runtime.step_rows import elapsed_row, row_of
from django_workflow.store import records
from django_workflow.store.rows import Claim, Recorded, StepRow


def open_sleep(step: SleepStep) -> StepRow:
    """Return the row of a sleep that has just been met."""
    return row_of(step, StepStatus.SLEEPING, wakes_in=step.duration)


def open_sleep_until(step: SleepUntilStep) -> StepRow:
    """Return the row of a sleep until a moment."""
    return row_of(step, StepStatus.SLEEPING, wake_at=step.moment)


def perform_sleep(
    performer: Any, step: SleepStep, record: Record | None, markers: tuple[PatchStep, ...]
) -> Record | None:
    """Record a sleep of no time."""
    if record is not None or step.duration > timedelta(0):
        return None
    return _record(performer, step, open_sleep(step), markers)


def perform_sleep_until(
    performer: Any, step: SleepUntilStep, record: Record | None, markers: tuple[PatchStep, ...]
) -> Record | None:
    """Record a sleep until a moment that is over."""
    if record is not None or step.moment > performer.now:
        return None
    return _record(performer, step, open_sleep_until(step), markers)


def _record(
    performer: Any, step: Any, row: StepRow, markers: tuple[PatchStep, ...]
) -> Record | None:
    over = replace(row, status=StepStatus.COMPLETED, wakes_in=None)
    done: Record | None = performer.write(step, over, markers)
    return done


def elapse_sleep(claim: Claim, timer: Record) -> Record:
    """Record that a sleep is over."""
    return slept(timer, records.record(claim, elapsed_row(timer)))


def slept(timer: Record, done: Recorded) -> Record:
    """Return the record of a sleep that is over."""
    return timer._replace(
        status=StepStatus.COMPLETED, sequence=done.sequence, finished_at=done.finished_at
    )
