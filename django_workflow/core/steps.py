"""What a workflow function can ask for: one dataclass per kind of step.

A step is built only where the journal has no result for it. It says what to record for the drift check
(`arguments`) and whether there is user code to execute (`has_body`); how it is carried out is its handler's
matter, in ``runtime``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, ClassVar

from django_workflow.core.approvals import ApprovalRequest
from django_workflow.core.calls import CallRequest
from django_workflow.core.durations import parse_duration
from django_workflow.core.events import Wanted
from django_workflow.core.exceptions import InvalidOptionError
from django_workflow.core.expressions import DelayExpression
from django_workflow.core.flow import FlowControl, checked_flow
from django_workflow.core.retry import RetryOn, RetryPolicy, checked_retry_on, parse_retry_delay
from django_workflow.core.types import JSONValue, StepKind
from django_workflow.core.undo import Undone, checked_undo
from django_workflow.core.webhooks import WebhookOptions

NAME_LENGTH = 200
KEY_LENGTH = 400
#: What the key of a slice of a map may take beside that of the map.
SLICE_LENGTH = 24


@dataclass(frozen=True, kw_only=True, slots=True)
class StepOptions:
    """What ``ctx.using()`` sets for its steps; None where the workflow or the settings decide."""

    retries: int | RetryPolicy | None = None
    retry_delay: timedelta | DelayExpression | None = None
    timeout: timedelta | None = None
    overlap: bool = False
    retry_on: RetryOn | None = None
    flow_control: FlowControl | None = None
    undo: Callable[[Undone], Any] | None = None

    @classmethod
    def checked(cls, **options: Any) -> StepOptions:
        """Build options from what a user wrote.

        Raises:
            InvalidOptionError: an option is unknown or cannot work.
        """
        return cls().using(**options)

    def using(self, **changes: Any) -> StepOptions:
        """Return a copy with these changes, checked."""
        unknown = sorted(
            set(changes)
            - {"retries", "retry_delay", "retry_on", "timeout", "overlap", "flow_control", "undo"}
        )
        if unknown:
            raise InvalidOptionError(
                f"{unknown[0]!r} is not an option of a step. Known are retries, retry_delay, retry_on, timeout, overlap, "
                "flow_control and undo."
            )
        checked_flow(changes.get("flow_control"), where="a step")
        if changes.get("retries") is not None:
            RetryPolicy.of(changes["retries"], RetryPolicy())
        readers: dict[str, Callable[[Any], Any]] = {
            "retry_delay": parse_retry_delay,
            "timeout": parse_duration,
            "retry_on": checked_retry_on,
            "undo": checked_undo,
        }
        for name, read in readers.items():
            if changes.get(name) is not None:
                changes[name] = read(changes[name])
        if changes.get("timeout") == timedelta(0):
            raise InvalidOptionError("timeout must be longer than zero.")
        if not isinstance(changes.get("overlap", False), bool):
            raise InvalidOptionError(f"overlap is True or False, not {changes['overlap']!r}.")
        return replace(self, **changes)

    def over_given(self, **changes: Any) -> StepOptions:
        """Return a copy with those of these changes that are given: an option of a verb wins over `using()`."""
        given = {name: value for name, value in changes.items() if value is not None}
        return self.using(**given) if given else self

    def over(self, base: StepOptions) -> StepOptions:
        """Return these options, filled up from ``base`` where they say nothing."""
        return StepOptions(
            retries=base.retries if self.retries is None else self.retries,
            retry_delay=self.retry_delay if self._sets_delay() else base.retry_delay,
            timeout=base.timeout if self.timeout is None else self.timeout,
            overlap=self.overlap or base.overlap,
            retry_on=base.retry_on if self.retry_on is None else self.retry_on,
            flow_control=self.flow_control or base.flow_control,
            undo=self.undo,
        )

    def _sets_delay(self) -> bool:
        return self.retry_delay is not None or isinstance(self.retries, RetryPolicy)

    def policy(self, default: RetryPolicy) -> RetryPolicy:
        """Return the retry policy that these options make of the default one."""
        policy = RetryPolicy.of(self.retries, default)
        return policy if self.retry_delay is None else policy.with_delay(self.retry_delay)


NO_OPTIONS = StepOptions()


@dataclass(frozen=True, slots=True)
class Step:
    """A step that the workflow function asks for; `key` is its place in the run."""

    key: str
    name: str
    branch: str
    options: StepOptions

    kind: ClassVar[StepKind]
    has_body: ClassVar[bool] = False
    #: Who carries out its delivery: any worker, or those that look for this lane.
    lane: ClassVar[str] = ""
    #: Whether `arguments` are compared with the recorded ones at replay.
    compares: ClassVar[bool] = False
    #: Whether something of it is counted by flow control.
    takes_flow: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse flow control where it could count nothing, rather than let it be overlooked."""
        if self.options.flow_control is not None and not self.takes_flow:
            raise InvalidOptionError(
                f'Step "{self.name}" is a {self.kind}, which executes nothing that flow control could count. '
                "Ask for it by a context without flow_control."
            )

    def arguments(self) -> dict[str, JSONValue]:
        """Return what is recorded of the arguments, for the timeline and the drift check."""
        return {}


@dataclass(frozen=True, slots=True)
class RunStep(Step):
    """``ctx.run``: a body that runs at least once; its result is recorded at most once."""

    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    kind: ClassVar[StepKind] = StepKind.RUN
    takes_flow: ClassVar[bool] = True
    has_body: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse what cannot be called, most often the value of a call."""
        if not callable(self.fn):
            raise InvalidOptionError(
                f'The body of step "{self.name}" is {self.fn!r}, which cannot be called. Give the function and '
                "its arguments apart: ctx.run(name, function, *arguments)."
            )


@dataclass(frozen=True, slots=True)
class AtomicStep(RunStep):
    """``ctx.atomic``: a body whose ORM writes commit together with its record."""

    kind: ClassVar[StepKind] = StepKind.ATOMIC


@dataclass(frozen=True, slots=True)
class SleepStep(Step):
    """``ctx.sleep``: nothing happens for a while, at no cost."""

    duration: timedelta

    kind: ClassVar[StepKind] = StepKind.SLEEP
    compares: ClassVar[bool] = True

    def arguments(self) -> dict[str, JSONValue]:
        """Return the duration in seconds."""
        return {"seconds": self.duration.total_seconds()}


@dataclass(frozen=True, slots=True)
class SleepUntilStep(Step):
    """``ctx.sleep_until``: nothing happens until a moment; a past one does not wait."""

    moment: datetime

    kind: ClassVar[StepKind] = StepKind.SLEEP_UNTIL
    compares: ClassVar[bool] = True

    def arguments(self) -> dict[str, JSONValue]:
        """Return the moment as ISO text."""
        return {"until": self.moment.isoformat()}


@dataclass(frozen=True, slots=True)
class WaitForEventStep(Step):
    """``ctx.wait_for_event``: nothing happens until events have arrived, or the time is over."""

    wanted: Wanted

    kind: ClassVar[StepKind] = StepKind.WAIT_FOR_EVENT
    compares: ClassVar[bool] = True

    def arguments(self) -> dict[str, JSONValue]:
        """Return event ids, how many of them, and the timeout in seconds."""
        wanted = self.wanted
        arguments: dict[str, JSONValue] = {
            "event_ids": list(wanted.event_ids),
            "count": wanted.count,
            "seconds": wanted.timeout.total_seconds(),
        }
        if wanted.lookback is not None:
            arguments["lookback"] = wanted.lookback.total_seconds()
        if wanted.schema:
            arguments["schema"] = wanted.schema
        return arguments


@dataclass(frozen=True, slots=True)
class NotifyStep(Step):
    """``ctx.notify``: an event is sent, once whatever happens on the way."""

    event_id: str
    #: The data as stored.
    data_text: str
    workflow_run_id: str | None
    keep: bool

    kind: ClassVar[StepKind] = StepKind.NOTIFY
    has_body: ClassVar[bool] = True
    compares: ClassVar[bool] = True

    def arguments(self) -> dict[str, JSONValue]:
        """Return the event id, and the run it is for."""
        arguments: dict[str, JSONValue] = {"event_id": self.event_id}
        if self.workflow_run_id is not None:
            arguments["workflow_run_id"] = self.workflow_run_id
        return arguments


@dataclass(frozen=True, slots=True)
class CreateWebhookStep(Step):
    """``ctx.create_webhook``: a URL of the run's own, made once."""

    wanted: WebhookOptions

    kind: ClassVar[StepKind] = StepKind.CREATE_WEBHOOK
    has_body: ClassVar[bool] = True
    compares: ClassVar[bool] = True

    def arguments(self) -> dict[str, JSONValue]:
        """Return the options that were given."""
        return self.wanted.to_json()


@dataclass(frozen=True, slots=True)
class WaitForWebhookStep(WaitForEventStep):
    """``ctx.wait_for_webhook``: nothing happens until the webhook is called, or the time is over."""

    kind: ClassVar[StepKind] = StepKind.WAIT_FOR_WEBHOOK


@dataclass(frozen=True, slots=True)
class WaitForApprovalStep(Step):
    """``ctx.wait_for_approval``: nothing happens until somebody has decided, or the time is over."""

    request: ApprovalRequest

    kind: ClassVar[StepKind] = StepKind.WAIT_FOR_APPROVAL
    compares: ClassVar[bool] = True

    def arguments(self) -> dict[str, JSONValue]:
        """Return what is asked, and of whom."""
        return self.request.arguments()


@dataclass(frozen=True, slots=True)
class MapStep(Step):
    """``ctx.map``: one function called with each of many items, which are recorded apart from the steps."""

    fn: Callable[[Any], Any]
    #: The items as stored, in one list.
    items_text: str
    count: int
    slices: int
    return_errors: bool

    kind: ClassVar[StepKind] = StepKind.MAP
    takes_flow: ClassVar[bool] = True
    compares: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse a key to which that of a slice cannot be added."""
        if len(self.key) > KEY_LENGTH - SLICE_LENGTH:
            raise InvalidOptionError(
                f'The name of map "{self.name[:60]}…" is too long: with its branches it may have '
                f"{KEY_LENGTH - SLICE_LENGTH} characters, and has {len(self.key)}."
            )

    def arguments(self) -> dict[str, JSONValue]:
        """Return how many items in how many slices, and what tells other items from these."""
        digest = sha256(self.items_text.encode()).hexdigest()[:16]
        return {"items": self.count, "slices": self.slices, "digest": digest}


@dataclass(frozen=True, slots=True)
class RaceStep(Step):
    """``ctx.race`` at its end: which of its branches was the first to end."""

    #: What the paths of its branches begin with, up to their number.
    stem: str
    count: int
    winner: int
    #: Whether the bodies of losers that are under way may still be recorded.
    leaves: bool

    kind: ClassVar[StepKind] = StepKind.RACE


@dataclass(frozen=True, slots=True)
class InvokeStep(Step):
    """``ctx.invoke``: another run is started, and the step ends when that run does."""

    workflow: str
    workflow_run_id: str | None
    cascade: bool
    #: Returns what describes the child, under the id that it is given.
    plan: Callable[[str], Any]

    kind: ClassVar[StepKind] = StepKind.INVOKE
    takes_flow: ClassVar[bool] = True
    compares: ClassVar[bool] = True

    def arguments(self) -> dict[str, JSONValue]:
        """Return the workflow's name, and the id that was given."""
        arguments: dict[str, JSONValue] = {"workflow": self.workflow}
        if self.workflow_run_id is not None:
            arguments["workflow_run_id"] = self.workflow_run_id
        return arguments


@dataclass(frozen=True, slots=True)
class PatchStep(Step):
    """``ctx.patched``: the marker that a run went through the new code. Written with the next record."""

    kind: ClassVar[StepKind] = StepKind.PATCH


@dataclass(frozen=True, slots=True)
class CallStep(Step):
    """``ctx.call``: a request to another server, made by a worker that holds nothing else meanwhile."""

    request: CallRequest

    kind: ClassVar[StepKind] = StepKind.CALL
    takes_flow: ClassVar[bool] = True
    lane: ClassVar[str] = "call"
    compares: ClassVar[bool] = True

    def arguments(self) -> dict[str, JSONValue]:
        """Return method and URL."""
        return self.request.arguments()
