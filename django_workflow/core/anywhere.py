"""What can be asked for anywhere: a run by its id, the end of many, an event."""

from __future__ import annotations

from typing import Any

from django_workflow.core.arguments import notify_fields
from django_workflow.core.events import EventWaiter, check_event_id
from django_workflow.core.ports import get_runtime


def get_run(run_id: str) -> Any:
    """Return the run with this id.

    Raises:
        RunNotFoundError: there is none.
    """
    return get_runtime().get_run(run_id)


async def aget_run(run_id: str) -> Any:
    """See `get_run()`."""
    return await get_runtime().in_thread(get_run, run_id)


def get_schedule(schedule_id: str) -> Any:
    """Return the schedule with this id; one that is declared in code has its workflow's name.

    Raises:
        ScheduleNotFoundError: there is none.
    """
    return get_runtime().get_schedule(schedule_id)


async def aget_schedule(schedule_id: str) -> Any:
    """See `get_schedule()`."""
    return await get_runtime().in_thread(get_schedule, schedule_id)


def cancel_runs(
    *ids: str,
    label: str | None = None,
    workflow: Any = None,
    all: bool = False,  # noqa: A002  the seeds' name
    actor: Any = None,
    why: str = "",
) -> int:
    """Cancel unfinished runs by id, label or workflow, or ``all=True``; return how many were cancelled.

    Raises:
        InvalidOptionError: nothing was named.
    """
    return get_runtime().cancel_runs(  # type: ignore[no-any-return]
        ids, label=label, workflow=workflow, everything=all, actor=actor, why=why
    )


async def acancel_runs(*ids: str, **filters: Any) -> int:
    """See `cancel_runs()`."""
    return await get_runtime().in_thread(cancel_runs, *ids, **filters)  # type: ignore[no-any-return]


def notify(
    event_id: str,
    event_data: Any = None,
    *,
    workflow_run_id: str | None = None,
    keep: bool = True,
) -> Any:
    """Send an event to every run that waits for its id, when the caller's transaction commits; return the event.

    If nobody waits, it is kept (``WORKFLOW["EVENT_RETENTION"]``) for the first wait that asks. ``.reached`` of the
    event tells how many runs it woke, once it is matched; None before.

    Args:
        event_id: What runs wait for.
        event_data: Anything that can be stored as JSON.
        workflow_run_id: The only run that may receive it.
        keep: Whether an event that reaches nobody is kept.

    Raises:
        InvalidEventError: those who wait for it all ask for other data (``schema=``); nothing was sent.
        InvalidOptionError: an argument cannot work, or a transaction is open on another alias alone.
        NotSerializableError: ``event_data`` cannot be stored.
        PayloadTooLargeError: ``event_data`` is longer than ``WORKFLOW["MAX_PAYLOAD_BYTES"]``.
        RunNotFoundError: there is no run ``workflow_run_id``.
    """
    return get_runtime().notify(*notify_fields(event_id, event_data, workflow_run_id, keep))


def get_waiters(event_id: str) -> list[EventWaiter]:
    """Return who waits for an event at this moment, the longest first: run, step, since when and until when.

    Raises:
        InvalidOptionError: this can be no event's id.
    """
    return get_runtime().get_waiters(check_event_id(event_id))  # type: ignore[no-any-return]


async def aget_waiters(event_id: str) -> list[EventWaiter]:
    """See `get_waiters()`."""
    return await get_runtime().in_thread(get_waiters, event_id)  # type: ignore[no-any-return]


def decide_approval(
    approval: Any, *, approve: bool, by: Any, comment: str = "", data: Any = None
) -> Any:
    """Approve or reject what a run waits for, in the caller's transaction; return the approval.

    Args:
        approval: An ``Approval``, or its primary key.
        approve: False rejects. The form is asked for at an approval alone.
        by: A user, or the mail address of an assignee.
        comment: What the workflow is told besides.
        data: What the form is filled in with.

    Raises:
        ApprovalClosedError: it was decided already, its time is over, or its run waits no more.
        DecisionRefusedError: this user or address may not decide.
        InvalidDecisionError: the form refuses the data, or raised; the approval stays open.
        InvalidOptionError: an argument cannot work.
    """
    return get_runtime().decide_approval(
        approval, approve=approve, by=by, comment=comment, data=data
    )


async def adecide_approval(approval: Any, **options: Any) -> Any:
    """See `decide_approval()`."""
    return await get_runtime().in_thread(decide_approval, approval, **options)


async def anotify(event_id: str, event_data: Any = None, **options: Any) -> Any:
    """See `notify()`."""
    return await get_runtime().in_thread(notify, event_id, event_data, **options)
