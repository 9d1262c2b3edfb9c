"""Calls: registered with their request, claimed by those who make them, and recorded with what came of it.

Who makes a request is not said here: a thread of a worker, over the network, or the sandbox, out of a test's hands.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from random import Random
from time import monotonic
from typing import Any, NamedTuple, TypeAlias

from django.db import Error as DatabaseError

from django_workflow.conf import settings
from django_workflow.core.calls import (
    IDEMPOTENCY_HEADER,
    CallRequest,
    Headers,
    stored_body,
    stored_result,
)
from django_workflow.core.codec import codec
from django_workflow.core.exceptions import (
    DeliveryFencedError,
    NotSerializableError,
    PayloadTooLargeError,
)
from django_workflow.core.flow import FlowControl
from django_workflow.core.retry import RetryPolicy
from django_workflow.core.retry_after import asked_delay, is_retried
from django_workflow.core.steps import CallStep
from django_workflow.core.types import Failure, RunStatus, StepStatus
from django_workflow.models import Attempt
from django_workflow.runtime.announcing import hears_of_steps, step_ended
from django_workflow.runtime.bell import bell
from django_workflow.runtime.bodies import idempotency_key
from django_workflow.runtime.failure import text_of, trouble_delay
from django_workflow.runtime.flow_control import give_slot_back, take_slot
from django_workflow.runtime.step_rows import record_of, row_of
from django_workflow.store import calls, claims, records, runs
from django_workflow.store.calls import CallRow
from django_workflow.store.flow import Slot
from django_workflow.store.records import AttemptRow
from django_workflow.store.requests import LANE
from django_workflow.store.rows import Claim, StepRow

logger = logging.getLogger(__name__)

ERROR_CLASS = "django_workflow.core.exceptions.CallError"

#: What was written, if anything was; and whether the run was woken.
Written: TypeAlias = tuple[StepRow | None, bool]

_random = Random()  # noqa: S311  spreads retries, guards nothing


class Answer(NamedTuple):
    """What the other server said."""

    status: int
    headers: tuple[tuple[str, str], ...]
    content: bytes


class NoAnswerError(Exception):
    """There was no answer; ``is_final`` where another attempt would end in the same way."""

    def __init__(self, message: str, *, is_final: bool = False, timed_out: bool = False) -> None:
        super().__init__(message)
        self.is_final = is_final
        self.timed_out = timed_out


class LocalTroubleError(Exception):
    """This process could not begin the request; what it was to ask has nothing to do with that."""


@dataclass(frozen=True, slots=True, eq=False)
class DueCall:
    """A claimed call, with all that is needed to make its request."""

    claim: Claim
    row: CallRow
    request: CallRequest
    timeout: timedelta
    policy: RetryPolicy
    control: FlowControl | None = None
    slot: Slot | None = None
    claimed: float = field(default_factory=monotonic)

    @property
    def attempt(self) -> int:
        """The number of the attempt that is being made."""
        return (self.row.attempts or 0) + 1

    @property
    def now(self) -> datetime:
        """The database's time at the claim, moved on by this process's clock."""
        return self.claim.now + timedelta(seconds=monotonic() - self.claimed)

    @property
    def shown(self) -> str:
        """The request in a line, for people."""
        asked = self.request.masked()
        return f"{asked.method} {asked.url}"


# Registered


def open_call(step: CallStep) -> StepRow:
    """Return the row of a call that has just been met."""
    return row_of(step, StepStatus.PENDING)


def request_text(claim: Claim, step: CallStep, usual: FlowControl | None = None) -> str:
    """Return what a call's request is stored as: with its idempotency key, so that every attempt sends the same.

    ``usual`` is the flow control of the run, which holds where the step has none of its own.
    """
    in_handler = step.branch.startswith("failure.")
    handler_round = claim.run.handler_round if in_handler else 0
    key = idempotency_key(claim.run_id, claim.run.generation, handler_round, step.key)
    options = step.options
    policy = RetryPolicy.of(options.retries or 0, settings().RETRIES)
    if options.retry_delay is not None:
        policy = policy.with_delay(options.retry_delay)
    timeout = options.timeout or settings().CALL_TIMEOUT
    request = step.request.with_default_header(IDEMPOTENCY_HEADER, key)
    return _text(request, timeout, policy, options.flow_control or usual)


def _text(
    request: CallRequest, timeout: timedelta, policy: RetryPolicy, control: FlowControl | None
) -> str:
    stored: dict[str, Any] = {
        "request": request.to_json(),
        "seconds": timeout.total_seconds(),
        "retries": policy.to_json(),
    }
    if control is not None:
        stored["flow_control"] = control.to_json()
    return codec.dumps(stored, what="request")


# Claimed


def claim_calls(
    worker: str, limit: int, *, only: Collection[str] | None = None
) -> tuple[list[DueCall], int]:
    """Take up to ``limit`` due calls; return those whose request is to be made, and how many were looked at."""
    found = claims.claim(worker, limit, only=only, lane=LANE)
    rows = calls.load(found)
    due = [_checked(claim, rows.get(claim.delivery_id)) for claim in found]
    return [call for call in due if call is not None], len(found)


def _checked(claim: Claim, row: CallRow | None) -> DueCall | None:
    try:
        return _due(claim, row)
    except DatabaseError:
        raise
    except Exception as error:  # broad: one call that cannot be read must not hold the others up
        logger.exception("A call of run %s cannot be read", claim.run_id)
        put_off_delivery(claim, f"The request cannot be read: {type(error).__name__}: {error}")
        return None


def put_off_delivery(claim: Claim, reason: str) -> None:
    """Repeat a call later that could not be made here, for no fault of its own: nobody's attempt."""
    delay = trouble_delay(claim.tries)
    claims.trouble(claim.delivery_id, claim.token, reason=reason, due_in=delay)


def _due(claim: Claim, row: CallRow | None) -> DueCall | None:
    run = claim.run
    in_handler = run.status == RunStatus.FAILED and run.handler_status == RunStatus.RUNNING
    if run.status != RunStatus.RUNNING and not in_handler:
        # Paused or ended: the delivery stands still until the run goes on.
        claims.give_back(claim)
        return None
    is_of_handler = claim.step_key.startswith(f"failure.{run.handler_round}/")
    is_open = row is not None and row.name is not None and row.sequence is None
    if row is None or row.request_text is None or not is_open or in_handler != is_of_handler:
        # The turn finds out what became of the step, and registers it anew if it is still asked for.
        runs.end_step_delivery(claim)
        return None
    stored = codec.loads(row.request_text)
    limits = stored.get("flow_control")
    control, slot = None if limits is None else FlowControl.from_json(limits), None
    if control is not None:
        slot, opens_at, _ = take_slot(claim, claim.step_key, control)
        if slot is None:
            # In line: whoever returns a slot makes the delivery due.
            claims.give_back(claim, due_at=opens_at, keep_deaths=True)
            return None
    return DueCall(
        claim,
        row,
        CallRequest.from_json(stored["request"]),
        timedelta(seconds=stored["seconds"]),
        RetryPolicy.from_json(stored["retries"]),
        control,
        slot,
    )


# Over


def at_once(tell: Callable[[], None]) -> None:
    """Tell listeners before anything else is done."""
    tell()


def finish(
    call: DueCall,
    outcome: Answer | NoAnswerError,
    took: timedelta,
    worker: str,
    *,
    tell: Callable[[Callable[[], None]], object] = at_once,
) -> bool:
    """Record what came of a request, or put the call off for another attempt; return whether the run was woken.

    A response to a claim that was lost meanwhile changes nothing, and is kept aside. ``tell`` says when listeners hear of it.
    """
    written, is_woken = _finish(call, outcome, took, worker)
    leave_slot(call)
    if written is not None and hears_of_steps():
        tell(partial(step_ended, call.claim, record_of(written, None, None)))
    return is_woken


def leave_slot(call: DueCall) -> None:
    """Return what a call holds of its flow control, once nothing of it is under way any more."""
    if call.slot is not None:
        give_slot_back(call.slot)
        # The next in line may be a call, too.
        bell.ring()


def _finish(
    call: DueCall, outcome: Answer | NoAnswerError, took: timedelta, worker: str
) -> Written:
    if isinstance(outcome, Answer):
        delay = _delay_after(call, outcome)
        if delay is None:
            return _answered(call, outcome, took, worker)
        trouble = NoAnswerError(f"{call.shown} was answered {outcome.status}.")
        return _put_off(call, trouble, delay, took, worker)
    delay = None if outcome.is_final else call.policy.delay_before(call.attempt, random=_random)
    if delay is None:
        return _gave_up(call, outcome, took, worker)
    return _put_off(call, outcome, delay, took, worker)


def _delay_after(call: DueCall, answer: Answer) -> timedelta | None:
    """Return when to try again after this answer, or None where it is the result."""
    if not is_retried(answer.status):
        return None
    delay = call.policy.delay_before(call.attempt, random=_random)
    if delay is None:
        return None
    asked = asked_delay(answer.status, Headers(answer.headers), call.now)
    return delay if asked is None else asked


def _answered(call: DueCall, answer: Answer, took: timedelta, worker: str) -> Written:
    limit = settings().MAX_RESULT_BYTES
    try:
        text = _result_text(answer, limit)
    except PayloadTooLargeError as error:
        message = (
            f"{call.shown} was answered with {error.size:,} bytes as stored, and at most {limit:,} are kept. "
            'Ask for less, or raise WORKFLOW["MAX_RESULT_BYTES"].'
        )
        return _gave_up(call, NoAnswerError(message), took, worker)
    row = _row(call, StepStatus.COMPLETED, took, worker, result_text=text)
    return _record(call, row, None)


def _result_text(answer: Answer, limit: int) -> str:
    content_type = Headers(answer.headers).get("content-type", "")
    body, form = stored_body(answer.content, content_type)
    try:
        stored = stored_result(answer.status, answer.headers, body, form)
        return codec.dumps(stored, what="answer", max_bytes=limit)
    except NotSerializableError:
        # JSON that Python reads and the codec refuses, as half of a surrogate pair: it stays the text it is.
        text = answer.content.decode("utf-8", "replace")
        stored = stored_result(answer.status, answer.headers, text, "text")
        return codec.dumps(stored, what="answer", max_bytes=limit)


def _gave_up(call: DueCall, trouble: NoAnswerError, took: timedelta, worker: str) -> Written:
    logger.warning('Call "%s" gave up: %s', call.row.name, trouble, extra=_extra(call))
    text = _failure_text(call, trouble)
    row = _row(call, StepStatus.FAILED, took, worker, failure_text=text)
    return _record(call, row, _attempt(call, trouble, text, took))


def _record(call: DueCall, row: StepRow, attempt: AttemptRow | None) -> Written:
    masked = _text(call.request.masked(), call.timeout, call.policy, call.control)
    try:
        calls.record(call.claim, row, masked, attempt)
    except DeliveryFencedError:
        _keep_late(call, row)
        return None, False
    return row, True


def _put_off(
    call: DueCall, trouble: NoAnswerError, delay: timedelta, took: timedelta, worker: str
) -> Written:
    logger.warning(
        'Call "%s" is tried again in %s: %s', call.row.name, delay, trouble, extra=_extra(call)
    )
    text = _failure_text(call, trouble)
    row = _row(call, StepStatus.RETRYING, took, worker, failure_text=text, wakes_in=delay)
    try:
        records.put_off(call.claim, row, _attempt(call, trouble, text, took))
    except DeliveryFencedError:
        _keep_late(call, row)
        return None, False
    return row, False


def _keep_late(call: DueCall, row: StepRow) -> None:
    late = AttemptRow(
        row.key,
        row.attempts,
        Attempt.Outcome.LATE,
        row.failure_text,
        row.result_text,
        row.took or timedelta(0),
    )
    if not runs.state_of(call.claim.run_id):
        # The run was deleted meanwhile.
        return
    records.keep(call.claim.run_id, late, worker=row.worker)


def _row(call: DueCall, status: StepStatus, took: timedelta, worker: str, **fields: Any) -> StepRow:
    known = call.row
    return StepRow(
        key=call.claim.step_key,
        name=known.name or "",
        branch=known.branch or "",
        kind=known.kind or "",
        arguments_text=known.arguments_text or "",
        status=status,
        attempts=call.attempt,
        took=took,
        worker=worker,
        delivered=True,
        registered=True,
        **fields,
    )


def _attempt(call: DueCall, trouble: NoAnswerError, text: str, took: timedelta) -> AttemptRow:
    outcome = Attempt.Outcome.TIMED_OUT if trouble.timed_out else Attempt.Outcome.FAILED
    return AttemptRow(call.claim.step_key, call.attempt, outcome, text, None, took)


def _failure_text(call: DueCall, trouble: NoAnswerError) -> str:
    failure = Failure(
        message=str(trouble),
        error_class=ERROR_CLASS,
        traceback="",
        step=call.row.name,
        attempts=call.attempt,
    )
    return text_of(failure)


def _extra(call: DueCall) -> dict[str, Any]:
    return {"run_id": call.claim.run_id, "step": call.row.name, "attempt": call.attempt}
