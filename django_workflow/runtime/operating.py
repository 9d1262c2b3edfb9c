"""What people do to one run by hand, beyond the verbs of its handle."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from django_workflow.conf import settings
from django_workflow.core.actors import Actor
from django_workflow.core.arguments import notify_fields
from django_workflow.core.exceptions import RunNotFoundError, RunStateError
from django_workflow.core.types import FINISHED, RunStatus
from django_workflow.models import Event
from django_workflow.runtime.audit import log
from django_workflow.runtime.waiting import send
from django_workflow.store import actions
from django_workflow.store import runs as store
from django_workflow.store.actions import Change
from django_workflow.store.repeating import repeated


@repeated
def send_event(
    run_id: str,
    event_id: str,
    event_data: Any = None,
    *,
    keep: bool = True,
    actor: Any = None,
    why: str = "",
) -> Event:
    """Send an event to one run alone, and keep who did it, in one transaction; return the event.

    Raises:
        InvalidEventError: the run waits for it, and refuses the data.
        InvalidOptionError: this can be no event's id, or is that of a webhook or an approval.
        RunNotFoundError: there is no such run.
        RunStateError: the run has ended, or is being cancelled, and takes no more events.
    """
    by = Actor.of(actor)
    fields = notify_fields(event_id, event_data, run_id, keep)
    with transaction.atomic(using=settings().DATABASE):
        # Nobody ends the run between the look at it and the event.
        state = store.locked_state(run_id)
        if state is None:
            raise RunNotFoundError(f'There is no run "{run_id}".', run_id=run_id)
        if state in FINISHED or state == RunStatus.CANCELLING:
            raise RunStateError(
                f'Run "{run_id}" is {state}; it takes no more events.', run_id=run_id, state=state
            )
        event = send(*fields)
        actions.keep("notify", [Change(run_id, state, state)], by=by, why=why)
    log("notify", run_id, by, why)
    return event
