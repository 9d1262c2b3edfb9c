"""What can be asked for anywhere: a run by its id, the end of many, an event, the limits of a flow control key."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django_workflow.core.arguments import notify_fields
from django_workflow.core.events import EventWaiter, check_event_id
from django_workflow.core.exceptions import InvalidOptionError
from django_workflow.core.flow import FlowState, checked_key
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
        InvalidOptionError: an argument cannot work, the event is that of a webhook (a call of its URL sends it) or of an
            approval (a decision does), or a transaction is open on another alias alone.
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


def flow_control(key: str) -> FlowKeyHandle:
    """Return the handle to a flow control key, whether or not anything has used it.

    Raises:
        InvalidOptionError: ``key`` cannot be a key.
    """
    return FlowKeyHandle(checked_key(key, "flow control"))


class FlowKeyHandle:
    """What can be asked and done with the limits of one key, while runs are alive."""

    def __init__(self, key: str) -> None:
        self.key = key

    def __repr__(self) -> str:
        return f"<FlowKeyHandle {self.key}>"

    def state(self) -> FlowState:
        """Return limits, waiting and holding, as they are at this moment."""
        return get_runtime().flow_state(self.key)  # type: ignore[no-any-return]

    async def astate(self) -> FlowState:
        """See `state()`."""
        return await get_runtime().in_thread(self.state)  # type: ignore[no-any-return]

    @property
    def waiting(self) -> int:
        """How many stand in line."""
        return self.state().waiting

    @property
    def holding(self) -> int:
        """How many hold a slot, or were given one and are about to begin."""
        return self.state().holding

    @property
    def parallelism(self) -> int | None:
        """How many bodies run at once; None without a limit."""
        return self.state().parallelism

    @property
    def rate(self) -> int | None:
        """How many bodies begin in a period; None without a limit."""
        return self.state().rate

    @property
    def period(self) -> timedelta:
        """The period of the rate."""
        return self.state().period

    @property
    def is_paused(self) -> bool:
        """Whether nothing begins under this key."""
        return self.state().is_paused

    @property
    def is_pinned(self) -> bool:
        """Whether the limits in the code are overridden."""
        return self.state().is_pinned

    def set(self, *, actor: Any = None, why: str = "", **limits: Any) -> FlowKeyHandle:
        """Change ``parallelism``, ``rate`` or ``period``, and pin the limits; None takes a limit away.

        Raises:
            InvalidOptionError: a limit is unknown or cannot work.
        """
        unknown = sorted(set(limits) - {"parallelism", "rate", "period"})
        if unknown or not limits:
            raise InvalidOptionError(
                f"set() takes parallelism, rate and period, not {unknown[0] if unknown else 'nothing'!r}."
            )
        return self._steer("set", actor=actor, why=why, **limits)

    def pause(self, *, actor: Any = None, why: str = "") -> FlowKeyHandle:
        """Let nothing begin under this key until `resume()`; what runs goes on."""
        return self._steer("pause", actor=actor, why=why)

    def resume(self, *, actor: Any = None, why: str = "") -> FlowKeyHandle:
        """Let the line move on."""
        return self._steer("resume", actor=actor, why=why)

    def pin(self, *, actor: Any = None, why: str = "") -> FlowKeyHandle:
        """Keep the limits as they are, whatever the code says."""
        return self._steer("pin", actor=actor, why=why)

    def unpin(self, *, actor: Any = None, why: str = "") -> FlowKeyHandle:
        """Let the limits in the code hold again, from the next time that it names them."""
        return self._steer("unpin", actor=actor, why=why)

    def reset(self, *, actor: Any = None, why: str = "") -> FlowKeyHandle:
        """Forget what has begun in the period, resume and unpin. Who stands in line stays there."""
        return self._steer("reset", actor=actor, why=why)

    def _steer(self, verb: str, **options: Any) -> FlowKeyHandle:
        get_runtime().steer_flow(self.key, verb, **options)
        return self

    async def aset(self, **options: Any) -> FlowKeyHandle:
        """See `set()`."""
        return await get_runtime().in_thread(self.set, **options)  # type: ignore[no-any-return]

    async def apause(self, **options: Any) -> FlowKeyHandle:
        """See `pause()`."""
        return await get_runtime().in_thread(self.pause, **options)  # type: ignore[no-any-return]

    async def aresume(self, **options: Any) -> FlowKeyHandle:
        """See `resume()`."""
        return await get_runtime().in_thread(self.resume, **options)  # type: ignore[no-any-return]

    async def apin(self, **options: Any) -> FlowKeyHandle:
        """See `pin()`."""
        return await get_runtime().in_thread(self.pin, **options)  # type: ignore[no-any-return]

    async def aunpin(self, **options: Any) -> FlowKeyHandle:
        """See `unpin()`."""
        return await get_runtime().in_thread(self.unpin, **options)  # type: ignore[no-any-return]

    async def areset(self, **options: Any) -> FlowKeyHandle:
        """See `reset()`."""
        return await get_runtime().in_thread(self.reset, **options)  # type: ignore[no-any-return]
