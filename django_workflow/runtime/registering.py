"""What a pass has found pending: registered, with all that can end it, in the transaction that gives the turn back."""

from __future__ import annotations

from datetime import datetime

from django_workflow.conf import settings
from django_workflow.core.exceptions import (
    RunExistsError,
)
from django_workflow.core.faults import too_many_steps
from django_workflow.core.replay import (
    Suspended,
)
from django_workflow.core.steps import CallStep, InvokeStep, PatchStep
from django_workflow.core.types import StepStatus
from django_workflow.runtime.bell import bell
from django_workflow.runtime.calling import request_text
from django_workflow.runtime.endings import Ending
from django_workflow.runtime.flow_control import after_commit
from django_workflow.runtime.handlers import opened
from django_workflow.runtime.invoking import (
    RefusedStepError,
    refused_row,
    wait_again,
    with_child,
)
from django_workflow.runtime.mapping import reopened
from django_workflow.runtime.performer import Performer
from django_workflow.runtime.step_rows import marker_row
from django_workflow.runtime.waiting import match_waiting, wake_workers
from django_workflow.store import waits
from django_workflow.store.rows import Claim, StepRow


class Registering:
    """The end of one pass that waits."""

    def __init__(
        self,
        claim: Claim,
        performer: Performer,
        ending: Ending,
        markers: tuple[PatchStep, ...],
        deadline: datetime | None,
    ) -> None:
        self.claim = claim
        self.performer = performer
        self.ending = ending
        self.markers = markers
        self.deadline = deadline

    def wait(self, outcome: Suspended, fan_out: list[str]) -> bool:
        """Register the open steps and give the turn back; False where one was refused, and recorded as failed."""
        wakes = self.claim.wakes
        try:
            self._register(outcome, fan_out)
        except RefusedStepError as refused:
            # Of what was rolled back, nothing counts.
            self.claim.wakes = wakes
            record = self.performer.journal.records.get(refused.step.key)
            row = refused_row(
                refused.step, refused.__cause__ or refused, registered=record is not None
            )
            self.performer.write(refused.step, row, self.markers)
            return False
        return True

    def _register(self, outcome: Suspended, fan_out: list[str]) -> None:
        rows = [row for row in (reopened(*asked) for asked in outcome.steps) if row is not None]
        invoked = {}
        for step, record in outcome.steps:
            if isinstance(step, InvokeStep) and record is None:
                rows.append(with_child(self.claim, step, opened(step)))
                invoked[rows[-1].child.id] = step
            elif record is None:
                rows.append(opened(step))
            elif isinstance(step, InvokeStep) and record.status == StepStatus.PENDING:
                wait_again(self.claim, step)
        if self._outgrows(sum(not row.registered for row in rows)):
            return
        calls = {
            step.key: request_text(self.claim, step, self.performer.options.flow_control)
            for step, record in outcome.steps
            if isinstance(step, CallStep) and (record is None or not record.delivered)
        }
        try:
            self._commit(rows, fan_out, calls)
        except RunExistsError as error:
            raise RefusedStepError(invoked[error.run_id]) from error
        if any(row.awaits for row in rows):
            # After the commit: whoever commits last, this wait or an event's sender, sees the other.
            match_waiting(self.claim.run_id)
        if calls:
            bell.ring()
        if invoked:
            wake_workers(set(invoked))
            children = (row.child for row in rows if row.child is not None)
            after_commit(child.flow_key for child in children if child.lines_up)

    def _commit(self, rows: list[StepRow], fan_out: list[str], calls: dict[str, str]) -> None:
        self.performer.telling.with_it(
            self.claim,
            lambda claim: waits.wait(
                claim,
                rows,
                fan_out=fan_out,
                calls=calls,
                due_at=self.deadline,
                markers=[marker_row(m) for m in self.markers],
                in_line=list(self.performer.in_line),
            ),
        )

    def _outgrows(self, new: int) -> bool:
        """Block the run if so many steps more are too many."""
        limit = settings().MAX_STEPS
        if limit is None or len(self.performer.journal.records) + new <= limit:
            return False
        self.ending.block(too_many_steps(limit, run_id=self.claim.run_id))
        return True
