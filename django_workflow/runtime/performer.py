"""Executes and records one step: the host of a pass.

A body is called outside any transaction (an atomic one inside its own), and its record is one short write under the
claim's token. What goes wrong with a write is the delivery's trouble and never reaches user code: the pass is left
as if it had to wait, and `fenced` or `broken` tells the executor why.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from time import monotonic
from typing import Any

from django.db import Error as DatabaseError

from django_workflow.conf import settings
from django_workflow.core.codec import codec
from django_workflow.core.context import CurrentStep, Triggers
from django_workflow.core.exceptions import DeliveryFencedError
from django_workflow.core.flow import FlowControl
from django_workflow.core.importable import dotted_path
from django_workflow.core.journal import Journal, Record
from django_workflow.core.replay import called_with
from django_workflow.core.steps import (
    AtomicStep,
    MapStep,
    PatchStep,
    RunStep,
    Step,
    StepOptions,
)
from django_workflow.core.types import Failure, StepStatus
from django_workflow.core.undo import WHAT
from django_workflow.models import Attempt
from django_workflow.runtime.announcing import around_step, step_ended
from django_workflow.runtime.atomics import perform_atomic
from django_workflow.runtime.bodies import (
    BodyTimeoutError,
    call_body,
    idempotency_key,
    trigger_seed,
)
from django_workflow.runtime.failure import retry_in, text_of, timeout_failure
from django_workflow.runtime.flow_control import give_slot_back, take_slot
from django_workflow.runtime.handlers import HANDLERS
from django_workflow.runtime.overtime import Overtime
from django_workflow.runtime.step_rows import marker_row, record_of
from django_workflow.runtime.telling import Telling
from django_workflow.store import claims, records, undos
from django_workflow.store.flow import Slot
from django_workflow.store.records import AttemptRow
from django_workflow.store.rows import Claim, StepRow
from django_workflow.store.sql import connection

logger = logging.getLogger(__name__)

GRACE = timedelta(seconds=5)


class Allowance:
    """How much one entry may do: for how long new bodies are begun, and how many."""

    def __init__(self, *, budget: timedelta | None, steps: int | None) -> None:
        self._ends = None if budget is None else monotonic() + budget.total_seconds()
        self._steps = steps
        self._begun = 0

    def spend(self) -> bool:
        """Use up one body; False when none is left. The first one is always allowed."""
        if self._steps is not None and self._begun >= self._steps:
            return False
        if self._begun and self._ends is not None and monotonic() >= self._ends:
            return False
        self._begun += 1
        return True

    def has_time(self) -> bool:
        """Tell whether the time for beginning bodies is not over."""
        return self._ends is None or monotonic() < self._ends


class Performer:
    """What a pass asks: execute this step under this claim, and record it."""

    #: Whether drifting arguments are errors whatever the workflow says.
    strict_arguments = False

    def __init__(
        self,
        claim: Claim,
        journal: Journal,
        options: StepOptions,
        allowance: Allowance,
        worker: str,
    ) -> None:
        self.claim = claim
        self.journal = journal
        self.options = options
        self.allowance = allowance
        self.worker = worker
        self.entered = monotonic()
        self.telling = Telling(claim, journal)
        #: Nothing more is begun in this entry: its allowance is spent, or something else happened to the run.
        self.exhausted = False
        self.fenced = False
        #: What was performed has ended the claim.
        self.ended = False
        self.broken: Exception | None = None
        #: What the body that runs now holds of its flow control.
        self.slot: Slot | None = None
        #: Steps that stand in line for a slot; with the moment at which they ask again by themselves, if any.
        self.in_line: dict[str, datetime | None] = {}

    @property
    def now(self) -> Any:
        """The database's time at the claim, moved on by this process's clock."""
        return self.claim.now + timedelta(seconds=monotonic() - self.entered)

    def execute(
        self, step: Step, record: Record | None, markers: tuple[PatchStep, ...]
    ) -> Record | None:
        """See `core.replay.Host.execute()`."""
        if self.fenced or self.broken is not None or self.exhausted or step.key in self.in_line:
            return None
        carry_out = HANDLERS[step.kind].perform
        if carry_out is None or (step.has_body and not self._may_begin(record)):
            return None
        return carry_out(self, step, record, markers)

    def _may_begin(self, record: Record | None) -> bool:
        if not self.may_execute(record):
            return False
        self.exhausted = not self.allowance.spend()
        return not self.exhausted

    def may_execute(self, record: Record | None) -> bool:
        """Whether a body may be begun now: no step delivery has it, and its retry delay is over."""
        if record is None:
            return True
        if record.delivered and self.claim.is_turn:
            return False
        return record.wake_at is None or record.wake_at <= self.now

    def perform(
        self, step: RunStep, record: Record | None, markers: tuple[PatchStep, ...]
    ) -> Record | None:
        """Call the body of a step and record what became of it."""
        options = step.options.over(self.options)
        if options.flow_control is None:
            return self._perform(step, record, markers, options)
        if not self._takes_slot(step, options.flow_control):
            return None
        done = self._perform(step, record, markers, options)
        # No `finally`: who dies on the way leaves its slot to its lease.
        if self.slot is not None:
            give_slot_back(self.slot)
            self.slot = None
        return done

    def _takes_slot(self, step: RunStep, control: FlowControl) -> bool:
        try:
            taken = take_slot(self.claim, step.key, control)
        except DatabaseError as error:
            self.broken = error
            return False
        self.slot = taken.slot
        if taken.slot is None:
            self.in_line[step.key] = taken.opens_at
        return taken.slot is not None

    def _perform(
        self,
        step: RunStep,
        record: Record | None,
        markers: tuple[PatchStep, ...],
        options: StepOptions,
    ) -> Record | None:
        attempt = (record.attempts if record is not None else 0) + 1
        atomic = isinstance(step, AtomicStep)
        timeout = options.timeout or (
            settings().ATOMIC_TIMEOUT if atomic else settings().STEP_TIMEOUT
        )
        try:
            if self.claim.tries > 1 and not claims.mark_begun(self.claim, step.key):
                self.fenced = True
                return None
            if options.undo is not None and not self._registers_undo(step, options.undo):
                return None
            if atomic and connection().vendor == "sqlite":
                # The body will hold the only write lock, so nobody could renew its lease meanwhile.
                claims.renew(
                    [(self.claim.delivery_id, self.claim.token)], (timeout or timedelta(0)) + GRACE
                )
        except DeliveryFencedError:
            self.fenced = True
            return None
        except DatabaseError as error:
            self.broken = error
            return None
        current = CurrentStep(
            name=step.name,
            attempt=attempt,
            idempotency_key=idempotency_key(
                self.claim.run_id, self.claim.run.generation, self.round_of(step), step.key
            ),
            workflow_run_id=self.claim.run_id,
            deadline=None if timeout is None else self.now + timeout,
            hear=partial(self.telling.hear_body, step.key, attempt),
            triggers=Triggers(trigger_seed(self.claim, step.key)),
        )
        call = _Call(step, record, markers, attempt, options, timeout, current)
        return perform_atomic(self, call) if atomic else self._perform_run(call)

    def _registers_undo(self, step: RunStep, undo: Callable[..., Any]) -> bool:
        """Keep what undoes a step before its body begins; False where the run does not go on any more."""
        self.exhausted = not undos.register(
            self.claim,
            step.key,
            name=step.name,
            atomic=isinstance(step, AtomicStep),
            path=dotted_path(undo, WHAT),
            arguments_text=called_with(step.args, step.kwargs),
        )
        return not self.exhausted

    def body_of(self, step: MapStep) -> Callable[[Any], Any]:
        """Return what is called with the items of a map."""
        return step.fn

    def round_of(self, step: Step) -> int:
        """Return the round of the failure handler that the step belongs to; 0 for the function's."""
        return self.claim.run.handler_round if step.branch.startswith("failure.") else 0

    def _perform_run(self, call: _Call) -> Record | None:
        overtime = Overtime.watching(self, call) if call.timeout is not None else None
        error: BaseException | None = None
        text: str | None = None
        try:
            with around_step(self.claim, call.step, call.attempt):
                value = call_body(call.step, call.current, call.timeout, self.telling.attend)
            text = codec.dumps(value, what="result", max_bytes=settings().MAX_RESULT_BYTES)
        except (
            Exception,
            SystemExit,
        ) as raised:  # the door of user code: whatever a body raises is its attempt
            error = raised
        if overtime is not None and not overtime.ended_in_time():
            self.fenced = True
            overtime.settle(text, error)
            self.telling.flush()
            return None
        if error is not None:
            return self.failed(call, error)
        return self.write(call.step, self.completed(call, text), call.markers)

    def completed(self, call: _Call, text: str | None) -> StepRow:
        """Return the row of a body that returned."""
        return call.row(self, StepStatus.COMPLETED, result_text=text, attempts=call.attempt)

    def failed(self, call: _Call, error: BaseException) -> Record | None:
        """Keep a failed attempt: the step is put off, or recorded as failed."""
        if isinstance(error, BodyTimeoutError) and call.timeout is not None:
            failure = timeout_failure(call.step.name, call.timeout.total_seconds(), call.attempt)
            outcome = Attempt.Outcome.TIMED_OUT
        else:
            failure = Failure.from_exception(error, step=call.step.name, attempts=call.attempt)
            outcome = Attempt.Outcome.FAILED
        text = text_of(failure)
        attempt = AttemptRow(call.step.key, call.attempt, outcome, text, None, call.took)
        delay = retry_in(error, call.attempt, call.options)
        extra = {"run_id": self.claim.run_id, "step": call.step.name, "attempt": call.attempt}
        if delay is None:
            logger.warning('Step "%s" gave up: %s', call.step.name, failure.message, extra=extra)
            row = call.row(self, StepStatus.FAILED, failure_text=text, attempts=call.attempt)
            return self.write(call.step, row, call.markers, attempt)
        logger.warning(
            'Step "%s" is tried again in %s: %s',
            call.step.name,
            delay,
            failure.message,
            extra=extra,
        )
        row = call.row(
            self, StepStatus.RETRYING, failure_text=text, attempts=call.attempt, wakes_in=delay
        )
        try:
            self.telling.with_it(
                self.claim,
                lambda claim: records.put_off(claim, row, attempt, markers=call.marker_rows()),
            )
        except DeliveryFencedError:
            self.fenced = True
            self.keep_late(row)
        except DatabaseError as away:
            self.broken = away
        else:
            self.add(record_of(row, None, None)._replace(wake_at=self.now + delay), call.markers)
        return None

    def write(
        self,
        step: Step,
        row: StepRow,
        markers: tuple[PatchStep, ...],
        attempt: AttemptRow | None = None,
    ) -> Record | None:
        """Record a result; None, with the reason kept, where that was not possible."""
        try:
            done = self.recorded(step, row, markers, attempt)
        except DeliveryFencedError:
            self.fenced = True
            self.keep_late(row)
            return None
        except DatabaseError as error:
            self.broken = error
            return None
        self.add(done, markers)
        return done

    def recorded(
        self,
        step: Step,
        row: StepRow,
        markers: tuple[PatchStep, ...],
        attempt: AttemptRow | None = None,
    ) -> Record:
        """Record a result; see `store.records.record()` for what is raised."""
        before = self.claim.wakes
        marks = [marker_row(marker) for marker in markers]
        done = self.telling.with_it(
            self.claim,
            lambda claim: records.record(claim, row, markers=marks, attempt=attempt),
        )
        if self.claim.is_turn and done.sequence != before + 1 + len(marks):
            self.exhausted = True
        return record_of(row, done.sequence, done.finished_at)

    def add(self, record: Record, markers: tuple[PatchStep, ...]) -> None:
        """Put what was written into the journal of this entry."""
        # Markers stand before the step in their branch; their numbers only matter to the database.
        for marker in markers:
            self.journal.add(record_of(marker_row(marker), 0, None))
        self.journal.add(record)
        step_ended(self.claim, record)

    def keep_late(self, row: StepRow) -> None:
        """Set the result of a fenced attempt aside, for the operator; it changes nothing."""
        if row.took is None:
            return
        late = AttemptRow(
            row.key,
            row.attempts,
            Attempt.Outcome.LATE,
            row.failure_text,
            row.result_text,
            row.took,
        )
        try:
            records.keep(self.claim.run_id, late, worker=self.worker)
        except DatabaseError:
            logger.warning(
                "A late result could not be kept.",
                exc_info=True,
                extra={"run_id": self.claim.run_id},
            )


class _Call:
    """One attempt of a body."""

    def __init__(
        self,
        step: RunStep,
        record: Record | None,
        markers: tuple[PatchStep, ...],
        attempt: int,
        options: StepOptions,
        timeout: timedelta | None,
        current: CurrentStep,
    ) -> None:
        self.step = step
        self.record = record
        self.markers = markers
        self.attempt = attempt
        self.options = options
        self.timeout = timeout
        self.current = current
        self.begun = monotonic()

    @property
    def took(self) -> timedelta:
        """How long the attempt has lasted."""
        return timedelta(seconds=monotonic() - self.begun)

    def marker_rows(self) -> list[StepRow]:
        """Return the rows of the markers met before the step."""
        return [marker_row(marker) for marker in self.markers]

    def row(self, performer: Performer, status: StepStatus, **fields: Any) -> StepRow:
        """Return the row that this attempt writes."""
        return StepRow(
            key=self.step.key,
            name=self.step.name,
            branch=self.step.branch,
            kind=self.step.kind,
            status=status,
            took=self.took,
            worker=performer.worker,
            delivered=self.record.delivered if self.record is not None else False,
            registered=self.record is not None,
            **fields,
        )
