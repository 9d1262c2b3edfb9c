"""Events: sent by anybody, met by steps that wait for them.

Both sides match after their own commit, so whoever commits last sees the other; the sweep matches what nobody has
tried because its process died in between.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from django.db import Error as DatabaseError
from django.db import transaction

from django_workflow.conf import settings
from django_workflow.core.codec import codec
from django_workflow.core.events import EventWaiter
from django_workflow.core.exceptions import (
    AtRestError,
    DeliveryFencedError,
    PayloadTooLargeError,
    RunNotFoundError,
    WorkflowError,
)
from django_workflow.core.journal import Record
from django_workflow.core.ports import get_dispatcher
from django_workflow.core.steps import NotifyStep, PatchStep, WaitForEventStep
from django_workflow.core.types import Failure, StepStatus
from django_workflow.models import Event, Run
from django_workflow.runtime.bodies import idempotency_key
from django_workflow.runtime.failure import text_of
from django_workflow.runtime.reserved import refuse_reserved
from django_workflow.runtime.schemas import fitting_text, refuse_unfitting
from django_workflow.runtime.step_rows import elapsed_row, row_of
from django_workflow.store import events
from django_workflow.store.events import NewEvent
from django_workflow.store.rows import Awaited, Claim, StepRow

logger = logging.getLogger(__name__)

#: How many events and waiters one sweep looks after.
SWEPT = 200


def send(event_id: str, data_text: str, run_id: str | None, keep: bool) -> Event:
    """Insert an event in the caller's transaction, and match it when that commits.

    Raises:
        InvalidEventError: everybody who waits for it refuses the data.
        InvalidOptionError: the event is that of a webhook or an approval.
        PayloadTooLargeError: the data are too long.
        RunNotFoundError: there is no such run.
    """
    _check(event_id, data_text, run_id)
    refuse_unfitting(event_id, data_text, run_id)
    event = events.send(NewEvent(event_id, data_text, run_id, keep))

    def match() -> None:
        match_event(event)

    # Robust: what goes wrong here is the sweep's, and no concern of the sender.
    transaction.on_commit(match, using=settings().DATABASE, robust=True)
    return event


def _check(event_id: str, data_text: str, run_id: str | None) -> None:
    refuse_reserved(event_id)
    limit = settings().MAX_PAYLOAD_BYTES
    if len(data_text) > limit:
        raise PayloadTooLargeError(
            f"The data of the event take {len(data_text):,} bytes, and at most {limit:,} are stored. "
            'Send an id, or raise WORKFLOW["MAX_PAYLOAD_BYTES"].',
            size=len(data_text),
            limit=limit,
        )
    if run_id is not None and not Run.objects.using(settings().DATABASE).filter(pk=run_id).exists():
        raise RunNotFoundError(f'There is no run "{run_id}".', run_id=run_id)


def waiters_for(event_id: str) -> list[EventWaiter]:
    """See `core.anywhere.get_waiters()`."""
    return [
        EventWaiter(
            run=waiter.run,
            step=step.name,
            step_key=step.key,
            since=waiter.created_at,
            until=step.wake_at,
        )
        for waiter, step in events.waiters_for(event_id)
    ]


def match_event(event: Event) -> None:
    """Match an event that was sent, after those before it, and fill in how many runs it has reached."""
    woken = set()
    for earlier in events.untried_before(event):
        woken |= events.match(earlier, fitting_text)
    woken |= events.match(event.pk, fitting_text)
    event.refresh_from_db(using=settings().DATABASE, fields=["tried_at", "matched_at", "reached"])
    wake_workers(woken)


def match_waiting(run_id: str, key: str | None = None) -> None:
    """Look in the mailbox for the waits of a run that has just registered them, or for those of one step."""
    woken = set()
    for waiter in events.waiters_of(run_id, key):
        woken |= events.match_waiter(waiter, fitting_text)
    wake_workers(woken)


def match_untried() -> int:
    """Match what nobody has tried to match; return how many runs were woken."""
    sent, waiting = events.untried(SWEPT)
    woken: set[str] = set()
    tries = [partial(events.match, pk, fitting_text) for pk in sent]
    tries += [partial(events.match_waiter, waiter, fitting_text) for waiter in waiting]
    for attempt in tries:
        try:
            woken |= attempt()
        except AtRestError as error:
            # What cannot be read now is tried again, and holds nobody up.
            logger.warning("The data of an event cannot be matched: %s", error)
    wake_workers(woken)
    return len(woken)


def delete_expired() -> int:
    """Delete events whose retention is over; return how many."""
    return events.delete_expired(SWEPT)


def wake_workers(woken: set[str]) -> None:
    """Tell workers of runs that were woken."""
    dispatcher = get_dispatcher()
    if woken and dispatcher is not None:
        dispatcher.hint(-(-len(woken) // settings().CLAIM_BATCH))


# What the handlers of the two steps do.


def open_wait(step: WaitForEventStep) -> StepRow:
    """Return the row of a wait that has just been met, with its waiters."""
    wanted = step.wanted
    awaited = Awaited(wanted.event_ids, wanted.count, wanted.lookback, wanted.schema)
    return row_of(step, StepStatus.WAITING, wakes_in=wanted.timeout, awaits=awaited)


def elapse_wait(claim: Claim, timer: Record) -> Record | None:
    """Record that the time of a wait is over, unless an event has come; None then."""
    # What was sent in time has arrived in time, also where nobody was alive to bring them together.
    match_waiting(claim.run_id, timer.key)
    done = events.time_out(claim, elapsed_row(timer))
    if done is None:
        return None
    recorded, text = done
    return timer._replace(
        status=StepStatus.COMPLETED,
        sequence=recorded.sequence,
        finished_at=recorded.finished_at,
        result_text=text,
    )


def perform_notify(
    performer: Any, step: NotifyStep, record: Record | None, markers: tuple[PatchStep, ...]
) -> Record | None:
    """Send the step's event once, match it, and record how many runs it has reached."""
    claim: Claim = performer.claim
    # With the run's age: after a run is deleted its id may be used again, and its events are kept longer.
    sender = f"{claim.run_id} {claim.run.created_at.isoformat()}"
    key = idempotency_key(sender, claim.run.generation, performer.round_of(step), step.key)
    fields: dict[str, Any] = {
        "registered": record is not None,
        "attempts": 1,
        "delivered": record is not None and record.delivered,
        "worker": performer.worker,
    }
    try:
        _check(step.event_id, step.data_text, step.workflow_run_id)
        if not events.was_sent(key):
            refuse_unfitting(step.event_id, step.data_text, step.workflow_run_id)
        event = events.send_under(
            claim, NewEvent(step.event_id, step.data_text, step.workflow_run_id, step.keep, key)
        )
        match_event(event)
        row = row_of(step, StepStatus.COMPLETED, result_text=_sent_text(event), **fields)
    except DeliveryFencedError:
        performer.fenced = True
        return None
    except WorkflowError as error:
        failure = Failure.from_exception(error, step=step.name, attempts=1)
        row = row_of(step, StepStatus.FAILED, failure_text=text_of(failure), **fields)
    except DatabaseError as error:
        performer.broken = error
        return None
    done: Record | None = performer.write(step, row, markers)
    return done


def _sent_text(event: Event) -> str:
    about = codec.dumps({"event_id": event.event_id, "reached": event.reached or 0}, what="event")
    return f'{about[:-1]},"event_data":{event.data_text}}}'
