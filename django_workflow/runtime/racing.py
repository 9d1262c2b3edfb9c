"""Races: the first branch to end has won, by a record of its own."""

from __future__ import annotations

from typing import Any

from django.db import Error as DatabaseError

from django_workflow.core.codec import codec
from django_workflow.core.exceptions import DeliveryFencedError
from django_workflow.core.journal import Record
from django_workflow.core.races import lost_branches
from django_workflow.core.steps import PatchStep, RaceStep
from django_workflow.core.types import StepStatus
from django_workflow.runtime.flow_control import keys_of, settle_keys
from django_workflow.runtime.invoking import cancel_orphans
from django_workflow.runtime.step_rows import marker_row, record_of, row_of
from django_workflow.store import races


def perform_race(
    performer: Any, step: RaceStep, record: Record | None, markers: tuple[PatchStep, ...]
) -> Record | None:
    """Record the winner, and close what the losers have open."""
    stored = {"index": step.winner, "stem": step.stem, "count": step.count}
    row = row_of(step, StepStatus.COMPLETED, result_text=codec.dumps(stored, what="race"))
    lost = lost_branches(step.stem, step.count, step.winner)
    marks = [marker_row(marker) for marker in markers]
    try:
        keys = keys_of(performer.claim.run_id)
        decided = races.decide(performer.claim, row, lost, leaves=step.leaves, markers=marks)
    except DeliveryFencedError:
        performer.fenced = True
        return None
    except DatabaseError as error:
        performer.broken = error
        return None
    if decided is None:
        # Something was recorded that this pass has not seen: it may have ended another branch first.
        performer.exhausted = True
        return None
    done, closed = decided
    for key in closed:
        known = performer.journal.records.get(key)
        if known is not None:
            performer.journal.add(known._replace(status=StepStatus.ABANDONED, delivered=True))
    written = record_of(row, done.sequence, done.finished_at)
    performer.add(written, markers)
    try:
        settle_keys(sorted(keys))
        if performer.journal.orphans:
            cancel_orphans(performer.claim, performer.journal)
    except DatabaseError as error:
        performer.broken = error
        return None
    return written
