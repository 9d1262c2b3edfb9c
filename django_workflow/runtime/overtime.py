"""A sync body that outlasts its timeout cannot be stopped: its attempt is fenced, and fails while it still runs.

At the deadline, in the keeper's thread, the claim gets a new token: what the body returns later is set aside. If
attempts are left, the next one begins only when the old body has ended or its process is gone (the lease goes on
meanwhile), unless the step allows ``overlap``. If none is left, the failure is recorded at once and the run goes on;
that of a step that can be undone when the old body has ended, for what it still does could not be undone.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta
from inspect import iscoroutinefunction
from threading import Lock
from typing import Any

from django.db import Error as DatabaseError
from django.db import transaction

from django_workflow.conf import settings
from django_workflow.core.exceptions import DeliveryFencedError
from django_workflow.core.steps import AtomicStep
from django_workflow.core.types import Failure, StepStatus
from django_workflow.models import Attempt
from django_workflow.runtime.announcing import step_ended
from django_workflow.runtime.failure import retry_in, text_of, timeout_failure
from django_workflow.runtime.flow_control import give_slot_back
from django_workflow.runtime.leases import Held, keeper
from django_workflow.runtime.step_rows import record_of
from django_workflow.store import claims, records
from django_workflow.store.flow import Slot, follow
from django_workflow.store.records import AttemptRow
from django_workflow.store.repeating import repeated
from django_workflow.store.rows import Claim, StepRow

logger = logging.getLogger(__name__)

GRACE = timedelta(seconds=5)


class Overtime:
    """The watch over one attempt."""

    def __init__(self, performer: Any, call: Any) -> None:
        self._performer = performer
        self._call = call
        self._lock = Lock()
        self._ended = False
        self._expired = False
        self._claim: Claim | None = None
        self._delay: timedelta | None = None
        self._gives_up = False
        self._held: Held | None = None
        self._written: StepRow | None = None

    @classmethod
    def watching(cls, performer: Any, call: Any) -> Overtime:
        """Return a watch that has begun."""
        overtime = cls(performer, call)
        # An async body is cancelled at its timeout; only one that does not end then is overtime.
        limit = call.timeout + (GRACE if iscoroutinefunction(call.step.fn) else timedelta(0))
        overtime._held = keeper.watch(performer.claim, limit.total_seconds(), overtime._expire)
        return overtime

    def ended_in_time(self) -> bool:
        """Tell, at the end of the body, whether its deadline has not been acted upon."""
        with self._lock:
            self._ended = True
            if not self._expired and self._held is not None:
                keeper.let_go(self._held)
            return not self._expired

    def _expire(self) -> None:
        with self._lock:
            if self._ended:
                return
            self._expired = True
            self._claim = Claim(*(getattr(self._performer.claim, name) for name in Claim.__slots__))
            try:
                self._fail(self._claim)
            except (DeliveryFencedError, DatabaseError):
                logger.warning(
                    "A timeout could not be recorded.",
                    exc_info=True,
                    extra={"run_id": self._performer.claim.run_id},
                )
                self._claim = None

    def _fail(self, claim: Claim) -> None:
        call = self._call
        if not self._take_over(claim):
            self._claim = None
            return
        failure = timeout_failure(call.step.name, call.timeout.total_seconds(), call.attempt)
        text = text_of(failure)
        attempt = AttemptRow(
            call.step.key, call.attempt, Attempt.Outcome.TIMED_OUT, text, None, call.took
        )
        self._delay = retry_in(TimeoutError(failure.message), call.attempt, call.options)
        if self._delay is None and _is_awaited(call):
            # Undone is what has ended: until then the step is held, as it is for another attempt.
            self._gives_up, self._delay = True, timedelta(0)
        if self._delay is None:
            row = call.row(
                self._performer, StepStatus.FAILED, failure_text=text, attempts=call.attempt
            )
            records.record(claim, row, markers=call.marker_rows(), attempt=attempt)
            self._written = row
        else:
            wakes_in = self._delay if call.options.overlap else None
            status = StepStatus.RETRYING if call.options.overlap else StepStatus.EXECUTING
            row = call.row(
                self._performer, status, failure_text=text, attempts=call.attempt, wakes_in=wakes_in
            )
            records.put_off(
                claim, row, attempt, ends=call.options.overlap, markers=call.marker_rows()
            )
            after = StepStatus.FAILED if self._gives_up else StepStatus.RETRYING
            self._written = replace(row, status=after)
        if self._delay is None or call.options.overlap:
            if claim.is_turn:
                claims.give_back(claim, due_in=self._delay or timedelta(0))
            self._claim = None
            if self._performer.slot is not None:
                give_slot_back(self._performer.slot)
            return
        if self._held is not None:
            self._held.claim = claim
            self._held.renewed = 0.0

    def _take_over(self, claim: Claim) -> bool:
        slot = self._performer.slot
        if slot is None:
            return claims.take_over(claim)

        @repeated
        def take(claim: Claim) -> Slot | None:
            with transaction.atomic(using=settings().DATABASE):
                # The body goes on, so it keeps its slot.
                return follow(slot, claim) if claims.take_over(claim) else None

        followed = take(claim)
        if followed is None:
            return False
        self._performer.slot = followed
        return True

    def settle(self, text: str | None, error: BaseException | None) -> None:
        """Set the late outcome of the body aside, and let the next attempt begin after its delay."""
        call = self._call
        if self._held is not None:
            keeper.let_go(self._held)
        failure = None
        if error is not None:
            failure = text_of(
                Failure.from_exception(error, step=call.step.name, attempts=call.attempt)
            )
        try:
            late = AttemptRow(
                call.step.key, call.attempt, Attempt.Outcome.LATE, failure, text, call.took
            )
            records.keep(self._performer.claim.run_id, late, worker=self._performer.worker)
            if self._claim is not None and self._delay is not None:
                self._put_off(self._claim, self._delay)
        except (DeliveryFencedError, DatabaseError):
            logger.warning(
                "A late outcome could not be kept.",
                exc_info=True,
                extra={"run_id": self._performer.claim.run_id},
            )
        if self._written is not None:
            # Not in the keeper's thread, which must not wait for those who listen.
            step_ended(self._performer.claim, record_of(self._written, None, None))

    def _put_off(self, claim: Claim, delay: timedelta) -> None:
        call = self._call
        failure = text_of(
            timeout_failure(call.step.name, call.timeout.total_seconds(), call.attempt)
        )
        row = call.row(
            self._performer,
            StepStatus.FAILED if self._gives_up else StepStatus.RETRYING,
            failure_text=failure,
            attempts=call.attempt,
            wakes_in=None if self._gives_up else delay,
        )
        if self._gives_up:
            records.record(claim, row)
        else:
            records.put_off(claim, row, None)
        if claim.is_turn:
            claims.give_back(claim, due_in=delay)


def _is_awaited(call: Any) -> bool:
    """Tell whether a body that cannot be stopped has to end before its step is undone."""
    is_atomic = isinstance(call.step, AtomicStep)
    return call.options.undo is not None and not is_atomic and not call.options.overlap
