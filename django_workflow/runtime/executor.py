"""Enters a run: one claim, as many passes as its allowance permits, and the claim's end.

A pass is left when the function waits, ends, or has used up its allowance. What it found pending is registered and
the turn given back in one transaction; a single open body is executed by the holder of the turn, several get a
step delivery each. A step delivery executes its step and goes no further.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from enum import Enum
from functools import partial
from typing import Any

from django.db import Error as DatabaseError

from django_workflow.conf import settings
from django_workflow.core.codec import codec
from django_workflow.core.context import RunFacts
from django_workflow.core.context_async import AsyncWorkflowContext
from django_workflow.core.context_sync import WorkflowContext
from django_workflow.core.exceptions import (
    CrashLoopError,
    DeliveryFencedError,
    UndecodableValueError,
    WorkflowError,
)
from django_workflow.core.journal import Journal
from django_workflow.core.maps import slice_of
from django_workflow.core.replay import (
    Cancelled,
    Completed,
    Continued,
    Diverged,
    Outcome,
    Raised,
    Replay,
    Suspended,
)
from django_workflow.core.replay_async import AsyncReplay
from django_workflow.core.replay_sync import SyncReplay
from django_workflow.core.steps import Step
from django_workflow.core.types import Failure, RunStatus, StepStatus
from django_workflow.core.undo import AT_WORK
from django_workflow.core.workflow import Workflow, registry
from django_workflow.runtime.announcing import around_pass, run_cancelled
from django_workflow.runtime.endings import Ending
from django_workflow.runtime.failure import (
    DEATHS_ALLOWED,
    run_options,
    stored_options,
    text_of,
)
from django_workflow.runtime.flow_control import flow_of, leave_line
from django_workflow.runtime.handlers import elapse
from django_workflow.runtime.invoking import (
    cancel_orphans,
    carry_cancelling,
    tell_parent,
)
from django_workflow.runtime.journals import journals, warn_of_growth
from django_workflow.runtime.performer import Allowance, Performer
from django_workflow.runtime.registering import Registering
from django_workflow.runtime.singleton_lines import let_next_begin, stands_back
from django_workflow.runtime.timers import over, record_elapsed
from django_workflow.runtime.trouble import (
    NOT_READABLE,
    DeliveryTroubleError,
    no_answer,
    not_readable,
    open_transactions,
    refuse_open_transaction,
)
from django_workflow.runtime.undoing import UndoEnding, has_undo, prefix_of, undo_steps
from django_workflow.runtime.urls import url_of
from django_workflow.store import claims, maps, records, runs, undos
from django_workflow.store.rows import Claim

logger = logging.getLogger(__name__)

#: No step has this key: that of a name with a hash ends in its occurrence.
BETWEEN_STEPS = "#"


class End(Enum):
    """How an entry ended."""

    #: The claim still holds and there is more to do at once.
    AGAIN = "again"
    #: The claim has ended: given back, finished, or taken over by somebody else.
    OVER = "over"


def enter(
    claim: Claim,
    *,
    worker: str,
    allowance: Allowance,
    performer: Callable[..., Performer] = Performer,
    ending: Callable[..., Ending] = Ending,
) -> End:
    """Carry the claimed delivery on as far as the allowance goes.

    ``performer`` makes the host of the passes, the sandbox brings its own; ``ending`` makes what ends the run.

    Raises:
        DeliveryTroubleError: it cannot be carried on here and now; the caller puts it off.
        TransactionOpenError: called inside a transaction.
    """
    refuse_open_transaction(f"A pass of run {claim.run_id} was entered")
    try:
        end = _carry_on(claim, partial(_Entry, worker, allowance, performer, ending))
    except DeliveryFencedError:
        logger.info(
            "A delivery of run %s was taken over", claim.run_id, extra={"run_id": claim.run_id}
        )
        return End.OVER
    except NOT_READABLE as error:
        raise not_readable(error) from error
    let_next_begin(claim)
    return end


def _carry_on(claim: Claim, entry: Callable[..., _Entry]) -> End:
    status = claim.run.status
    in_undo = has_undo(claim)
    if in_undo and claim.run.undo_status == "pending":
        undos.plan(claim)
        return End.OVER
    in_handler = status == RunStatus.FAILED and claim.run.handler_status == RunStatus.RUNNING
    in_handler = in_handler and claim.run.undo_status not in AT_WORK
    if status not in (RunStatus.PENDING, RunStatus.RUNNING) and not in_handler and not in_undo:
        return _stand_still(claim)
    workflow = registry.find(claim.run.workflow)
    if workflow is None:
        raise DeliveryTroubleError(
            f'This process knows no workflow "{claim.run.workflow}": is it deployed here, in a module named workflows? Waiting for one that does.'
        )
    if claim.run.version not in workflow.versions and not in_undo:
        raise DeliveryTroubleError(
            f'This process knows no version "{claim.run.version}" of workflow "{workflow.name}". Waiting for one that does.'
        )
    return entry(claim, workflow, in_handler=in_handler, in_undo=in_undo).go()


def pass_over(
    claim: Claim, journal: Journal, allowance: Allowance, performer: Callable[..., Performer]
) -> Outcome:
    """Make one pass of a run over this journal, and do nothing about its outcome: a rehearsal."""
    workflow = registry.get(claim.run.workflow)
    run = claim.run
    in_handler = run.status == RunStatus.FAILED and run.handler_status == RunStatus.RUNNING
    entry = _Entry("", allowance, performer, Ending, claim, workflow, in_handler=in_handler)
    entry.journal = journal
    entry.performer = performer(claim, journal, entry.options, allowance, "")
    return entry._pass()


def _stand_still(claim: Claim) -> End:
    """Give the delivery of a paused or ended run back; a paused run's timers are recorded when they are over.

    A run that is cancelling has its children cancelled, and an ended one tells the parent that waits for it.
    """
    due: datetime | None = None
    if claim.run.status == RunStatus.CANCELLING and claim.is_turn:
        return End.OVER if carry_cancelling(claim) else End.AGAIN
    if claim.run.parent_waits and claim.run.status != RunStatus.PAUSED:
        tell_parent(claim.run_id)
    if claim.run.status == RunStatus.PAUSED and claim.is_turn:
        waiting = record_elapsed(claim, records.load(claim.run_id))
        due = min((moment for moment in waiting if moment is not None), default=None)
    claims.give_back(claim, due_at=due)
    return End.OVER


class _Entry:
    """One entry under one claim."""

    def __init__(
        self,
        worker: str,
        allowance: Allowance,
        make_performer: Callable[..., Performer],
        make_ending: Callable[..., Ending],
        claim: Claim,
        workflow: Workflow[Any, Any],
        *,
        in_handler: bool,
        in_undo: bool = False,
    ) -> None:
        self.claim = claim
        self.workflow = workflow
        self.worker = worker
        self.allowance = allowance
        self.make_performer = make_performer
        self.in_handler = in_handler
        self.in_undo = in_undo
        #: Beside the function, which is not entered any more.
        self.is_beside = in_handler or in_undo
        #: The step that a step delivery is for; the map, where it is for a slice of one.
        self.slice = slice_of(claim.step_key)
        self.target = claim.step_key if self.slice is None else self.slice[0]
        self.prefix = f"failure.{claim.run.handler_round}/" if in_handler else ""
        if in_undo:
            self.prefix = prefix_of(claim)
        self.options = run_options(claim.run, workflow, flow_of(claim.run, workflow))
        make_ending = UndoEnding if in_undo else make_ending
        self.ending = make_ending(claim, workflow, self.options, in_handler=in_handler)

    def go(self) -> End:
        """Pass until the claim has ended, or there is more to do than is allowed."""
        try:
            if self._is_expired() or self._has_died() or self._is_overdue():
                return End.OVER
            if not self.is_beside and stands_back(self.claim):
                return End.OVER
            self.journal = journals.take(self.claim, *filter(None, [self.target]))
            loaded = self.journal.watermark
            size = len(self.journal.records)
            if self._is_done_already():
                return End.OVER
            if self.claim.is_turn and self.journal.orphans:
                cancel_orphans(self.claim, self.journal)
            self._add_elapsed()
            self.performer = self.make_performer(
                self.claim, self.journal, self.options, self.allowance, self.worker
            )
            while True:
                end = self._settle(self._pass())
                if end is not None:
                    break
        except DatabaseError as error:
            raise no_answer(error) from error
        warn_of_growth(self.journal, size)
        if self.options.flow_control is not None and self.claim.is_turn and not loaded:
            # It began without a body: what was kept for its first one is for others.
            leave_line([self.claim.run_id], "")
        if not self.performer.fenced and not self.ending.is_last:
            # Others may have recorded between what was loaded and what this entry added: those are asked for again.
            known = max(loaded, self.claim.wakes) if self.claim.is_turn else loaded
            self.journal.watermark = min(self.journal.watermark, known)
            journals.keep(self.journal, self.claim)
        return end

    def _is_done_already(self) -> bool:
        """End a step delivery whose step has its record."""
        record = self.journal.records.get(self.target)
        if record is None or record.sequence is None:
            return False
        self._end_step_delivery()
        return True

    def _end_step_delivery(self) -> None:
        """End a step delivery with which nothing can be done, and wake the turn."""
        if self.slice is None:
            runs.end_step_delivery(self.claim)
        else:
            maps.leave_slice(self.claim, self.target)

    def _has_died(self) -> bool:
        """Charge the death of the previous holder; block the run at the third in a row."""
        begun = self.claim.begun
        if not begun:
            if self.claim.tries > 1:
                claims.mark_begun(self.claim, BETWEEN_STEPS)
            return False
        key = "" if begun == BETWEEN_STEPS else begun
        deaths = records.died(self.claim, at=key)
        if deaths < DEATHS_ALLOWED:
            claims.mark_begun(self.claim, BETWEEN_STEPS)
            return False
        place = f'in step "{key}"' if key else "in the code between steps"
        error = CrashLoopError(
            f"The process died {deaths} times in a row {place} (run {self.claim.run_id}). Look at its memory and its "
            "native libraries, then resume the run.",
            step=key or None,
            deaths=deaths,
        )
        self.ending.block(error)
        return True

    def _is_expired(self) -> bool:
        """Cancel the run if it begins later than its trigger allowed."""
        seconds = stored_options(self.claim.run.options_text).get("ttl")
        if seconds is None or self.is_beside:
            return False
        run = self.claim.run
        limit = run.created_at + timedelta(seconds=seconds)
        if (run.started_at or self.claim.now) < limit:
            return False
        failure = Failure(
            message=f"The run had not begun by {limit:%Y-%m-%d %H:%M:%S} UTC, when its ttl was over.",
            error_class="django_workflow.core.exceptions.RunExpiredError",
            traceback="",
            step=None,
            attempts=0,
        )
        if runs.cancel_from_inside(self.claim, text_of(failure)):
            run_cancelled(self.claim.run_id)
        return True

    def _is_overdue(self) -> bool:
        """Fail the run if its own timeout is over."""
        deadline = self.claim.run.deadline
        if deadline is None or self.is_beside or deadline > self.claim.now:
            return False
        failure = Failure(
            message=f"The run had not ended by {deadline:%Y-%m-%d %H:%M:%S} UTC, its timeout.",
            error_class="django_workflow.core.exceptions.RunTimeoutError",
            traceback="",
            step=None,
            attempts=0,
        )
        self.ending.fail(failure, "")
        return True

    def _add_elapsed(self) -> None:
        if not self.claim.is_turn or self.claim.run.status == RunStatus.CANCELLING:
            return
        known, is_behind = self.journal.watermark, False
        for timer in over(self.journal.open_records(), self.claim.now):
            done = elapse(self.claim, timer)
            if done is None:
                is_behind = True
            else:
                self.journal.add(done)
        if is_behind:
            # An event came first, and is recorded between what was loaded and what was added here.
            self.journal.forget_open()
            self.journal.extend(records.load(self.claim.run_id, known))

    def _facts(self) -> RunFacts:
        run = self.claim.run
        stored = stored_options(run.options_text)
        schedule = stored.get("schedule", {})
        return RunFacts(
            workflow_run_id=run.id,
            workflow_run_created_at=run.created_at,
            request_payload=None if run.payload_text is None else codec.loads(run.payload_text),
            headers=codec.loads(run.headers_text),
            url=partial(url_of, self.workflow),
            labels=tuple(stored.get("labels", ())),
            version=run.version,
            schedule_id=schedule.get("id"),
            scheduled_for=datetime.fromisoformat(schedule["slot"]) if schedule else None,
            generation=run.generation,
        )

    def _pass(self) -> Outcome:
        """Run the function once, from its top."""
        try:
            facts = self._facts()
        except UndecodableValueError as error:
            return Diverged(error)
        self.performer.telling.begin_pass()
        replay_class = AsyncReplay if self._is_async else SyncReplay
        replay = replay_class(
            self.journal,
            self.performer,
            facts,
            target=self.target or None,
            prefix=self.prefix,
            retried=self.claim.run.code_attempts,
            strict_arguments=self.workflow.options.strict_arguments
            or self.performer.strict_arguments,
            max_steps=None if self.in_undo else settings().MAX_STEPS,
            hear=self.performer.telling.hear,
            transactions=open_transactions,
        )
        logger.debug("Pass of run %s", self.claim.run_id, extra={"run_id": self.claim.run_id})
        with around_pass(self.claim):
            outcome = replay.run(self._function(replay))
        self.markers = tuple(replay.markers)
        return outcome

    @property
    def _is_async(self) -> bool:
        """Whether the function of this entry is awaited; that which undoes steps is a plain one."""
        return self.workflow.is_async and not self.in_undo

    def _function(self, replay: Replay) -> Callable[[], Any]:
        context_class: Any = AsyncWorkflowContext if self._is_async else WorkflowContext
        context = context_class(replay)
        if self.in_undo:
            return partial(undo_steps, context, self.claim)
        if not self.in_handler:
            function = self.workflow.versions[self.claim.run.version]
            return lambda: function(context)
        handler = self.workflow.failure_handler
        failure = Failure.from_json(codec.loads(self.claim.run.failure_text or "{}"))
        return lambda: handler(context, failure) if handler is not None else None

    def _settle(self, outcome: Outcome) -> End | None:
        """Do what the outcome asks for; None means another pass."""
        performer = self.performer
        if performer.fenced or performer.ended:
            return End.OVER
        if performer.broken is not None:
            raise no_answer(performer.broken) from performer.broken
        if isinstance(outcome, Diverged):
            return self._diverged(outcome.error)
        if not self.claim.is_turn:
            return self._settle_step_delivery(outcome)
        if isinstance(outcome, Suspended):
            return self._suspended(outcome)
        performer.telling.with_it(self.claim, lambda _: self._end(outcome))
        return End.OVER

    def _end(self, outcome: Outcome) -> None:
        if isinstance(outcome, Completed):
            self.ending.completed(outcome.value, leaves_open=bool(self.journal.open_records()))
        elif isinstance(outcome, Raised):
            self.ending.raised(outcome.error)
        elif isinstance(outcome, Cancelled) and runs.cancel_from_inside(self.claim):
            run_cancelled(self.claim.run_id)
        elif isinstance(outcome, Continued):
            self.ending.continued(outcome.payload_text)

    def _settle_step_delivery(self, outcome: Outcome) -> End:
        record = self.journal.records.get(self.target)
        if record is not None and record.sequence is not None:
            return End.OVER
        if self.claim.step_key in self.performer.in_line:
            due_at = self.performer.in_line[self.claim.step_key]
            claims.give_back(self.claim, due_at=due_at, keep_deaths=True)
            return End.OVER
        if (
            record is not None
            and record.status == StepStatus.RETRYING
            and isinstance(outcome, Suspended)
        ):
            # Put off by this very entry, or claimed a moment too early: then it is given back for its time.
            claims.give_back_step(self.claim, record.wake_at)
            return End.OVER
        if self.performer.exhausted:
            return End.AGAIN
        self._end_step_delivery()
        return End.OVER

    def _diverged(self, error: WorkflowError) -> End:
        if not self.claim.is_turn:
            # Only the turn gives a verdict: it may have a newer journal.
            self._end_step_delivery()
        else:
            self.ending.block(error)
        return End.OVER

    def _suspended(self, outcome: Suspended) -> End | None:
        performer = self.performer
        if performer.exhausted:
            return End.AGAIN
        if outcome.again:
            return None
        bodies = [(step, record) for step, record in outcome.steps if step.has_body]
        if len(outcome.steps) == 1 and bodies:
            step, record = bodies[0]
            if step.key in performer.in_line or not performer.may_execute(record):
                return self._wait(outcome, [])
            return self._execute_alone(step)
        return self._wait(
            outcome, [step.key for step, record in bodies if record is None or not record.delivered]
        )

    def _execute_alone(self, step: Step) -> End | None:
        """Execute the only open step of the run, met in a branch that has been left; then pass again."""
        self.performer.execute(step, self.journal.records.get(step.key), self.markers)
        if self.performer.fenced:
            return End.OVER
        if self.performer.broken is not None:
            raise no_answer(self.performer.broken) from self.performer.broken
        return End.AGAIN if self.performer.exhausted and not self._moved_on(step) else None

    def _moved_on(self, step: Step) -> bool:
        record = self.journal.records.get(step.key)
        return record is not None and record.sequence is not None

    def _wait(self, outcome: Suspended, fan_out: list[str]) -> End | None:
        """Register what is waited for and give the turn back; None where a step is refused, for another pass."""
        registering = Registering(
            self.claim, self.performer, self.ending, self.markers, self._deadline()
        )
        if registering.wait(outcome, fan_out) or self.performer.fenced:
            return End.OVER
        if self.performer.broken is not None:
            raise no_answer(self.performer.broken) from self.performer.broken
        return None

    def _deadline(self) -> datetime | None:
        moments = [*self.performer.in_line.values()]
        if not self.is_beside:
            moments.append(self.claim.run.deadline)
        return min((moment for moment in moments if moment is not None), default=None)
