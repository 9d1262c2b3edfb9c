"""An atomic step: its body and its record in one transaction, and what an error at its end means.

The record is the last statement before COMMIT, so the fencing check holds until then. What comes after the record is
either the COMMIT itself, whose unknown outcome the journal decides, or an ``on_commit`` hook: then the step is
recorded, and neither undone nor repeated.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from django.db import Error as DatabaseError
from django.db import InterfaceError, OperationalError, transaction

from django_workflow.conf import settings
from django_workflow.core import faults
from django_workflow.core.codec import codec
from django_workflow.core.context import executing
from django_workflow.core.exceptions import AtRestError, DeliveryFencedError
from django_workflow.core.journal import Record
from django_workflow.core.types import Failure
from django_workflow.models import Attempt
from django_workflow.runtime.announcing import around_step
from django_workflow.runtime.bodies import (
    BodyTimeoutError,
    other_aliases_refuse_writes,
    refuse_coroutine_function,
)
from django_workflow.runtime.failure import text_of
from django_workflow.runtime.overtime import Overtime
from django_workflow.store import records
from django_workflow.store.records import AttemptRow
from django_workflow.store.sql import connection

logger = logging.getLogger(__name__)

# The database's own trouble; whatever else it says is about what the body did.
AWAY = (OperationalError, InterfaceError)


@dataclass(slots=True)
class _Progress:
    """How far the transaction has come."""

    text: str | None = None
    recording: bool = False
    done: Record | None = None
    committed: bool = False

    def commit(self) -> None:
        self.committed = True


def perform_atomic(performer: Any, call: Any) -> Record | None:
    """Execute the body and record it in one transaction; see `Performer.execute()` for what is returned."""
    progress = _Progress()
    wakes, exhausted = performer.claim.wakes, performer.exhausted
    overtime = None
    token = executing.set(call.current)
    try:
        refuse_coroutine_function(call.step)
        if call.timeout is not None and connection().vendor != "sqlite":
            overtime = Overtime.watching(performer, call)
        with around_step(performer.claim, call.step, call.attempt):
            _transact(performer, call, overtime, progress)
    except DeliveryFencedError:
        performer.fenced = True
        if overtime is not None and not overtime.ended_in_time():
            overtime.settle(progress.text, None)
        else:
            performer.keep_late(performer.completed(call, progress.text))
        return None
    except (Exception, SystemExit) as error:  # the door of user code, and of COMMIT
        if overtime is not None and not overtime.ended_in_time():
            performer.fenced = True
            overtime.settle(None, error)
            return None
        if not progress.committed and not _is_recorded(performer, call, progress, error):
            # Rolled back, and the numbers it had taken with it.
            if progress.done is not None:
                performer.telling.take_back()
            performer.claim.wakes, performer.exhausted = wakes, exhausted
            return _rolled_back(performer, call, progress, error)
        _keep_hook_failure(performer, call, error, committed=progress.committed)
    finally:
        executing.reset(token)
        if overtime is not None:
            overtime.ended_in_time()
    if progress.done is not None:
        performer.add(progress.done, call.markers)
    return progress.done


def _transact(performer: Any, call: Any, overtime: Overtime | None, progress: _Progress) -> None:
    alias = settings().DATABASE
    with other_aliases_refuse_writes(call.step.name), transaction.atomic(using=alias):
        # Before any hook of the body: when one of those raises, the COMMIT is known to have returned.
        transaction.on_commit(progress.commit, using=alias)
        try:
            value = call.step.fn(*call.step.args, **call.step.kwargs)
        except faults.STRAY as error:
            raise faults.stray(error, f'The body of step "{call.step.name}"') from error
        progress.text = codec.dumps(value, what="result", max_bytes=settings().MAX_RESULT_BYTES)
        if overtime is not None and not overtime.ended_in_time():
            raise records.fenced(performer.claim, f'Step "{call.step.name}"')
        if overtime is None and call.timeout is not None and call.took > call.timeout:
            # SQLite: nobody else could write meanwhile, so the time is looked at when it is over.
            raise BodyTimeoutError(f"The body took longer than {call.timeout}.")
        progress.recording = True
        row = performer.completed(call, progress.text)
        progress.done = performer.recorded(call.step, row, call.markers)


def _is_recorded(performer: Any, call: Any, progress: _Progress, error: BaseException) -> bool:
    """Tell whether a COMMIT that did not answer took place."""
    if progress.done is None or not isinstance(error, AWAY):
        return False
    try:
        if not connection().in_atomic_block:
            connection().close()
        return records.is_recorded(
            performer.claim.run_id, call.step.key, progress.done.sequence or 0
        )
    except DatabaseError:
        # Still away: the next pass reads the journal.
        return False


def _rolled_back(
    performer: Any, call: Any, progress: _Progress, error: BaseException
) -> Record | None:
    if progress.recording and isinstance(error, (*AWAY, AtRestError)):
        performer.broken = error
        return None
    # An error that comes up at COMMIT (a deferred constraint) or at the record is the body's as well.
    failed: Record | None = performer.failed(call, error)
    return failed


def _keep_hook_failure(performer: Any, call: Any, error: BaseException, *, committed: bool) -> None:
    extra = {
        "run_id": performer.claim.run_id,
        "step": call.step.name,
        "attempt": call.attempt,
    }
    if not committed:
        logger.warning(
            'The COMMIT of step "%s" did not answer; the journal says that it took place. Its on_commit hooks did not run.',
            call.step.name,
            exc_info=error,
            extra=extra,
        )
    else:
        logger.error(
            'An on_commit hook of step "%s" raised; the step is recorded and not repeated.',
            call.step.name,
            exc_info=error,
            extra=extra,
        )
    failure = Failure.from_exception(error, step=call.step.name, attempts=call.attempt)
    row = AttemptRow(call.step.key, call.attempt, Attempt.Outcome.HOOK_FAILED, text_of(failure))
    try:
        records.keep(performer.claim.run_id, row, worker=performer.worker)
    except DatabaseError:
        logger.warning(
            "What went wrong could not be kept with the step.", exc_info=True, extra=extra
        )
