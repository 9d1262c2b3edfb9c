"""Approvals as they are written with the step that waits for them."""

from __future__ import annotations

from collections.abc import Sequence

from django_workflow.conf import settings
from django_workflow.models import Approval, ApprovalAssignee, Step
from django_workflow.store.rows import StepRow


def insert(run_id: str, rows: Sequence[StepRow]) -> None:
    """Insert the approvals of steps that are being registered, under the lock of the run's turn."""
    for row in rows:
        if row.asks is not None:
            _insert(run_id, row)


def _insert(run_id: str, row: StepRow) -> None:
    alias, new = settings().DATABASE, row.asks
    assert new is not None and row.awaits is not None  # noqa: S101, PT018  they come together
    if Approval.objects.using(alias).filter(run_id=run_id, step_key=row.key).exists():
        return
    step = Step.objects.using(alias).get(run_id=run_id, key=row.key)
    assert step.wake_at is not None  # noqa: S101  every approval has a timeout
    approval = Approval.objects.using(alias).create(
        run_id=run_id,
        step_key=row.key,
        event_id=row.awaits.event_ids[0],
        title=new.title,
        description=new.description,
        form=new.form,
        permission=new.permission,
        reminders_text=new.reminders_text,
        created_at=step.created_at,
        due_at=step.wake_at,
        next_mail_at=step.created_at if new.assignees and settings().APPROVAL_MAILER else None,
    )
    ApprovalAssignee.objects.using(alias).bulk_create(
        ApprovalAssignee(approval=approval, kind=kind, value=value) for kind, value in new.assignees
    )
