"""What people do by hand to schedules, flow control keys, events and errors: done, and kept with who did it and why,
in one transaction."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from django_workflow.conf import settings
from django_workflow.core.actors import Actor
from django_workflow.core.arguments import notify_fields
from django_workflow.core.exceptions import InvalidOptionError
from django_workflow.core.ports import get_runtime
from django_workflow.models import DeadLetterNote, Event, Run, Waiter
from django_workflow.runtime.waiting import send
from django_workflow.store import actions, letters
from django_workflow.store.actions import Change
from django_workflow.store.repeating import repeated

logger = logging.getLogger(__name__)

#: An event that reaches more runs is kept as one action about the event.
MOST_KEPT = 200
NOTE_LENGTH = 5_000
ABOUT_NOTHING = (Change("", "", ""),)


def _keep(
    verb: str, subject: str, by: Actor, why: str, changes: Sequence[Change] = ABOUT_NOTHING
) -> None:
    actions.keep(verb, changes, by=by, why=why, subject=subject)
    logger.info(
        "%s: %s", subject, verb, extra={"actor": by.name, "door": by.door, "why": why, "verb": verb}
    )


# Schedules


@repeated
def steer_schedule(schedule_id: str, verb: str, *, actor: Any = None, why: str = "") -> Run | None:
    """Pause, resume, delete or run a schedule now (``run_now``, which returns the run).

    Raises:
        InvalidOptionError: it is declared in code, and is to be deleted.
        ScheduleNotFoundError: there is none.
        WorkflowNotFoundError: this process does not know its workflow.
    """
    by, runtime = Actor.of(actor), get_runtime()
    with transaction.atomic(using=settings().DATABASE):
        schedule = runtime.get_schedule(schedule_id)
        if verb == "delete" and schedule.is_declared:
            raise InvalidOptionError(
                f'Schedule "{schedule_id}" is declared in code, and is taken out there.'
            )
        names = {
            "pause": "pause_schedule",
            "resume": "resume_schedule",
            "delete": "delete_schedule",
            "run_now": "run_schedule_now",
        }
        made = getattr(runtime, names[verb])(schedule_id)
        run = made if isinstance(made, Run) else None
        changes = ABOUT_NOTHING if run is None else (Change(run.pk, "", run.status),)
        _keep(verb, f"schedule {schedule_id}", by, why, changes)
    return run


# Flow control


@repeated
def steer_key(key: str, verb: str, *, actor: Any = None, why: str = "", **limits: Any) -> None:
    """Pause, resume, pin, unpin, reset or set a flow control key; see `core.anywhere.FlowKeyHandle`.

    Raises:
        InvalidOptionError: a limit cannot work.
    """
    by = Actor.of(actor)
    with transaction.atomic(using=settings().DATABASE):
        get_runtime().steer_flow(key, verb, actor=by.name, why=why, **limits)
        _keep(verb, f"flow control {key}", by, why)


# Events


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent:
    """What became of an event that was sent by hand."""

    event: Event
    #: How many waited for it when it was sent; ``event.reached`` tells how many took it.
    waited: int


@repeated
def send_to_all(
    event_id: str, event_data: Any = None, *, keep: bool = True, actor: Any = None, why: str = ""
) -> Sent:
    """Send an event to all who wait for it, and keep who did it with each of these runs.

    Raises:
        InvalidEventError: those who wait for it all refuse the data.
        InvalidOptionError: this can be no event's id, or is that of a webhook or an approval.
        NotSerializableError: the data cannot be stored.
        PayloadTooLargeError: the data are too long.
    """
    by, alias = Actor.of(actor), settings().DATABASE
    fields = notify_fields(event_id, event_data, None, keep)
    with transaction.atomic(using=alias):
        event = send(*fields)
        waiting = Waiter.objects.using(alias).present_for(event_id, None).order_by("run_id")
        runs = list(waiting.values_list("run_id", "run__status").distinct()[: MOST_KEPT + 1])
        changes = [Change(run_id, status, status) for run_id, status in runs]
        if not changes or len(changes) > MOST_KEPT:
            changes = list(ABOUT_NOTHING)
        _keep("notify", f"event {event_id}", by, why, changes)
    return Sent(event=event, waited=len(runs))


# Errors


@repeated
def note_error(
    fingerprint: str,
    *,
    note: str,
    assignee: str,
    is_ignored: bool,
    actor: Any = None,
    why: str = "",
) -> DeadLetterNote:
    """Note what people say of an error; return the note.

    Raises:
        InvalidOptionError: the note is too long.
    """
    if len(note) > NOTE_LENGTH:
        raise InvalidOptionError(f"A note has {NOTE_LENGTH:,} characters at most.")
    by, alias = Actor.of(actor), settings().DATABASE
    with transaction.atomic(using=alias):
        before = letters.locked(fingerprint)
        letters.change(
            fingerprint, note=note, assignee=assignee, is_ignored=is_ignored, changed_by=by.name
        )
        verb = "note"
        if before.is_ignored != is_ignored:
            verb = "ignore" if is_ignored else "unignore"
        _keep(verb, f"error {fingerprint}", by, why)
        return DeadLetterNote.objects.using(alias).get(pk=fingerprint)
