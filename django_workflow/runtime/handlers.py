"""Per kind of step: how it is registered, how it is carried out, and what is recorded when its time is over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from django_workflow.core.journal import Record
from django_workflow.core.steps import PatchStep, Step
from django_workflow.core.types import StepKind, StepStatus
from django_workflow.runtime.approvals import elapse_approval, open_approval
from django_workflow.runtime.calling import open_call
from django_workflow.runtime.invoking import elapse_invoke, open_invoke
from django_workflow.runtime.mapping import open_map, perform_map
from django_workflow.runtime.racing import perform_race
from django_workflow.runtime.sleeping import (
    elapse_sleep,
    open_sleep,
    open_sleep_until,
    perform_sleep,
    perform_sleep_until,
)
from django_workflow.runtime.step_rows import row_of
from django_workflow.runtime.waiting import elapse_wait, open_wait, perform_notify
from django_workflow.runtime.webhooks import perform_create_webhook
from django_workflow.store.rows import Claim, StepRow

Perform = Callable[[Any, Any, Record | None, tuple[PatchStep, ...]], Record | None]


def open_body(step: Step) -> StepRow:
    """Return the row of a step that is met, and not begun."""
    return row_of(step, StepStatus.PENDING)


def perform_body(
    performer: Any, step: Any, record: Record | None, markers: tuple[PatchStep, ...]
) -> Record | None:
    """Call the body of ``ctx.run`` or ``ctx.atomic``."""
    done: Record | None = performer.perform(step, record, markers)
    return done


@dataclass(frozen=True, kw_only=True, slots=True)
class Handler:
    """How the runtime deals with one kind of step."""

    #: The row with which the step is registered before it has a result.
    opened: Callable[[Any], StepRow] = open_body
    #: Carries the step out and records it, where that is possible now; None where it can only be waited for.
    perform: Perform | None = None
    #: Records that the step's time is over; None when something else has ended it first.
    elapse: Callable[[Claim, Record], Record | None] | None = None


HANDLERS: Final[Mapping[str, Handler]] = {
    StepKind.RUN: Handler(perform=perform_body),
    StepKind.ATOMIC: Handler(perform=perform_body),
    StepKind.SLEEP: Handler(opened=open_sleep, perform=perform_sleep, elapse=elapse_sleep),
    StepKind.SLEEP_UNTIL: Handler(
        opened=open_sleep_until, perform=perform_sleep_until, elapse=elapse_sleep
    ),
    StepKind.WAIT_FOR_EVENT: Handler(opened=open_wait, elapse=elapse_wait),
    StepKind.CALL: Handler(opened=open_call),
    StepKind.INVOKE: Handler(opened=open_invoke, elapse=elapse_invoke),
    StepKind.NOTIFY: Handler(perform=perform_notify),
    StepKind.CREATE_WEBHOOK: Handler(perform=perform_create_webhook),
    StepKind.WAIT_FOR_APPROVAL: Handler(opened=open_approval, elapse=elapse_approval),
    StepKind.WAIT_FOR_WEBHOOK: Handler(opened=open_wait, elapse=elapse_wait),
    StepKind.MAP: Handler(opened=open_map, perform=perform_map),
    StepKind.RACE: Handler(perform=perform_race),
}


def opened(step: Step) -> StepRow:
    """Return the row with which a step is registered before it has a result."""
    return HANDLERS[step.kind].opened(step)


def elapse(claim: Claim, timer: Record) -> Record | None:
    """Record that the time of a step is over; None when something else has ended it first.

    Raises:
        DeliveryFencedError: the claim is stale; nothing was written.
    """
    ended = HANDLERS[timer.kind].elapse
    return None if ended is None else ended(claim, timer)
