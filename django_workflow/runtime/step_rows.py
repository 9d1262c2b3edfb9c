"""Steps as rows and records: what a kind of step writes when it is met, and what the journal keeps of it."""

from __future__ import annotations

from typing import Any

from django_workflow.core.codec import codec
from django_workflow.core.journal import Record
from django_workflow.core.steps import PatchStep, Step
from django_workflow.core.types import StepKind, StepStatus
from django_workflow.store.rows import StepRow


def row_of(step: Step, status: StepStatus, **fields: Any) -> StepRow:
    """Return the row of a step in this status."""
    return StepRow(
        key=step.key,
        name=step.name,
        branch=step.branch,
        kind=step.kind,
        status=status,
        arguments_text=codec.dumps(step.arguments(), what="arguments") if step.compares else "",
        **fields,
    )


def marker_row(marker: PatchStep) -> StepRow:
    """Return the row of a ``ctx.patched()`` marker."""
    return StepRow(
        key=marker.key,
        name=marker.name,
        branch=marker.branch,
        kind=StepKind.PATCH,
        status=StepStatus.COMPLETED,
    )


def elapsed_row(timer: Record) -> StepRow:
    """Return the row of a step whose time is over."""
    return StepRow(
        key=timer.key,
        name=timer.name,
        branch=timer.branch,
        kind=timer.kind,
        status=StepStatus.COMPLETED,
        arguments_text=timer.arguments_text,
        wake_at=timer.wake_at,
        registered=True,
    )


def record_of(row: StepRow, sequence: int | None, finished_at: Any) -> Record:
    """Return what the journal keeps of a row."""
    return Record(
        row.key,
        row.name,
        row.branch,
        row.kind,
        row.status,
        sequence,
        row.arguments_text,
        row.result_text,
        row.failure_text,
        row.attempts,
        row.delivered,
        row.wake_at,
        finished_at,
    )
