"""What a workflow function is handed: the verbs, and what is known of its run.

Both contexts only name the step; the pass behind them decides whether it is recorded, executed or waited for.
A step is known by branch, name and occurrence, so verbs are methods of the context of a pass, not functions.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import date, datetime
from random import Random
from types import FunctionType
from typing import Any, Generic, NoReturn, Protocol, TypeAlias, TypeVar, overload
from uuid import UUID

from django_workflow.core.codec import codec
from django_workflow.core.durations import parse_duration, parse_moment
from django_workflow.core.events import EventResult, SentEvent, Wanted, check_event_id
from django_workflow.core.exceptions import InvalidOptionError, MisplacedStepError
from django_workflow.core.steps import (
    NO_OPTIONS,
    AtomicStep,
    NotifyStep,
    RunStep,
    SleepStep,
    SleepUntilStep,
    Step,
    StepOptions,
    WaitForEventStep,
)
from django_workflow.core.types import P, T

PayloadT = TypeVar("PayloadT")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")

AsyncBranch: TypeAlias = Callable[[], Awaitable[T]] | Awaitable[T]


@dataclass(frozen=True, kw_only=True, slots=True)
class CurrentStep:
    """What a step body may know of itself."""

    name: str
    attempt: int
    #: The same over attempts, deaths and resumes; another after restart. Hand it to APIs that take one.
    idempotency_key: str
    workflow_run_id: str
    deadline: datetime | None = None


executing: ContextVar[CurrentStep | None] = ContextVar("django_workflow_step", default=None)


def current_step() -> CurrentStep:
    """Return the step whose body is being executed.

    Raises:
        MisplacedStepError: called outside a step's body.
    """
    step = executing.get()
    if step is None:
        raise MisplacedStepError(
            "current_step() was called outside a step's body. Call it in a function that ctx.run executes.",
            step="",
        )
    return step


@dataclass(frozen=True, kw_only=True, slots=True)
class RunFacts:
    """What a context tells of its run. The same in every pass."""

    workflow_run_id: str
    workflow_run_created_at: datetime
    request_payload: Any
    headers: Mapping[str, str] = field(default_factory=dict)
    #: The URL, or what finds it: looking through a urlconf is no matter of every pass.
    url: str | Callable[[], str] = ""
    labels: tuple[str, ...] = ()
    version: str = "1"


class Pass(Protocol):
    """What a context needs of the pass it belongs to."""

    facts: RunFacts

    @property
    def retried(self) -> int:
        """How often in a row the code between steps has failed."""

    def meet(
        self, kind: type[Step], name: str, options: StepOptions, fields: tuple[Any, ...]
    ) -> Any:
        """Return the step's value (a coroutine in an async pass), or end the pass there."""

    def parallel(self, branches: tuple[Any, ...], return_errors: bool) -> Any:
        """Run branches of which each is a sequence of steps of its own."""

    def patched(self, patch_id: str) -> bool:
        """Tell whether this run goes through the code behind ``patch_id``."""

    def now(self) -> datetime:
        """Return the time of what was last handed to the branch."""

    def uuid(self) -> UUID:
        """Return a UUID that is the same at replay."""

    def random(self) -> Random:
        """Return a generator that draws the same at replay."""

    def cancel(self) -> NoReturn:
        """End the run as cancelled."""


class BaseContext(Generic[PayloadT]):
    """What both contexts share."""

    def __init__(self, of: Pass, options: StepOptions = NO_OPTIONS) -> None:
        self._pass = of
        self._options = options

    @property
    def request_payload(self) -> PayloadT:
        """The payload of the trigger, decoded; None without one."""
        payload: PayloadT = self._pass.facts.request_payload
        return payload

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of the trigger."""
        return self._pass.facts.headers

    @property
    def url(self) -> str:
        """The URL to which the deliveries of this run go; empty where none is known."""
        url = self._pass.facts.url
        return url if isinstance(url, str) else url()

    @property
    def workflow_run_id(self) -> str:
        """The id of this run."""
        return self._pass.facts.workflow_run_id

    @property
    def workflow_run_created_at(self) -> datetime:
        """When the run was triggered."""
        return self._pass.facts.workflow_run_created_at

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the trigger, sorted."""
        return self._pass.facts.labels

    @property
    def version(self) -> str:
        """The version of the workflow that this run follows."""
        return self._pass.facts.version

    @property
    def retried(self) -> int:
        """How often in a row the code between steps has failed before this pass."""
        return self._pass.retried

    def patched(self, patch_id: str) -> bool:
        """Tell whether this run goes through the changed code behind ``patch_id``.

        True for runs that come here for the first time, and from then on for those; False for runs that
        had gone beyond this point when the code was changed. Recorded with the next write.
        """
        return self._pass.patched(patch_id)


class WorkflowContext(BaseContext[PayloadT]):
    """The context of a sync workflow. A verb returns the recorded value, or leaves the function there."""

    def using(self, **options: Any) -> WorkflowContext[PayloadT]:
        """Return the same context with ``retries``, ``retry_delay``, ``timeout`` or ``overlap`` for its steps.

        Raises:
            InvalidOptionError: an option is unknown or cannot work.
        """
        return WorkflowContext(self._pass, self._options.using(**options))

    def run(self, name: str, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Execute ``fn`` as a step: at least once; its result is recorded at most once.

        The value returned is the decoded record, already at the first pass; at replay ``fn`` is not called.

        Raises:
            StepError: the step gave up after its retries.
        """
        return self._pass.meet(RunStep, name, self._options, (fn, args, kwargs))  # type: ignore[no-any-return]

    def atomic(self, name: str, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Execute ``fn`` in a transaction that commits its ORM writes together with the record: exactly once.

        Writes on other database aliases than the journal's are refused while it runs.

        Raises:
            StepError: the step gave up after its retries; nothing of it was committed.
        """
        return self._pass.meet(AtomicStep, name, self._options, (fn, args, kwargs))  # type: ignore[no-any-return]

    def sleep(self, name: str, duration: Any) -> None:
        """Let the run rest for a while (timedelta, seconds, or text as ``"2d"``); costs nothing.

        Raises:
            InvalidOptionError: ``duration`` is no duration.
        """
        self._pass.meet(SleepStep, name, self._options, (parse_duration(duration),))

    def sleep_until(self, name: str, when: datetime | date | str | float) -> None:
        """Let the run rest until a moment: aware datetime, date, ISO text, unix seconds. A past one does not wait.

        Raises:
            InvalidOptionError: ``when`` is no moment, or a naive one.
        """
        self._pass.meet(SleepUntilStep, name, self._options, (parse_moment(when),))

    def wait_for_event(
        self,
        name: str,
        event_id: str | Iterable[str],
        timeout: Any = "7d",
        *,
        count: int | None = None,
        lookback: Any = None,
    ) -> EventResult:
        """Wait until an event was sent with `notify()`, or the timeout is over; costs nothing meanwhile.

        An event that was sent earlier and has reached nobody counts, the oldest first. A timeout is a result
        (``.timed_out``), not an error.

        Args:
            name: The step's name.
            event_id: The event's id; or several, of which ``count`` (default: all) have to arrive.
            timeout: How long to wait.
            count: How many of several events are enough.
            lookback: How long ago a kept event may have been sent; default: as long as it is kept.

        Raises:
            InvalidOptionError: an argument cannot work.
        """
        wanted = Wanted.of(event_id, timeout, count, lookback)
        return EventResult.from_record(
            self._pass.meet(WaitForEventStep, name, self._options, (wanted,))
        )

    def notify(
        self,
        name: str,
        event_id: str,
        event_data: Any = None,
        workflow_run_id: str | None = None,
        keep: bool = True,
    ) -> SentEvent:
        """Send an event as a step: exactly once, also through crashes. See `django_workflow.notify()`.

        Raises:
            InvalidOptionError: an argument cannot work.
            NotSerializableError: ``event_data`` cannot be stored.
            StepError: there is no run ``workflow_run_id``, or the data are too long.
        """
        fields = notify_fields(event_id, event_data, workflow_run_id, keep)
        return SentEvent.from_record(self._pass.meet(NotifyStep, name, self._options, fields))

    @overload
    def parallel(self, a: Callable[[], A], b: Callable[[], B], /) -> tuple[A, B]: ...
    @overload
    def parallel(
        self, a: Callable[[], A], b: Callable[[], B], c: Callable[[], C], /
    ) -> tuple[A, B, C]: ...
    @overload
    def parallel(self, *branches: Callable[[], T]) -> tuple[T, ...]: ...
    @overload
    def parallel(
        self, *branches: Callable[[], Any], return_errors: bool = False
    ) -> tuple[Any, ...]: ...
    def parallel(
        self, *branches: Callable[[], Any], return_errors: bool = False
    ) -> tuple[Any, ...]:
        """Run branches side by side, each a function without arguments that may hold many steps.

        Returns their results in the order given. Ends when every branch has ended; then raises the error that
        was recorded first, with the others on ``error.others``; ``return_errors=True`` returns them in place.
        """
        return self._pass.parallel(branches, return_errors)  # type: ignore[no-any-return]

    def now(self) -> datetime:
        """Return when the branch was last handed something (or when the run began); the same at replay."""
        return self._pass.now()

    def uuid(self) -> UUID:
        """Return a UUID that is the same at replay."""
        return self._pass.uuid()

    def random(self) -> float:
        """Return a number from 0 up to 1 that is the same at replay."""
        return self._pass.random().random()

    def cancel(self) -> NoReturn:
        """End the run as cancelled, here. No failure handler runs."""
        self._pass.cancel()


class AsyncWorkflowContext(BaseContext[PayloadT]):
    """The context of an async workflow: the same verbs, awaited. Branches are tasks."""

    def using(self, **options: Any) -> AsyncWorkflowContext[PayloadT]:
        """See `WorkflowContext.using()`."""
        return AsyncWorkflowContext(self._pass, self._options.using(**options))

    @overload
    async def run(
        self, name: str, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> T: ...
    @overload
    async def run(
        self, name: str, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T: ...
    async def run(self, name: str, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """See `WorkflowContext.run()`; ``fn`` may be async or not."""
        return await self._pass.meet(RunStep, name, self._options, (fn, args, kwargs))

    async def atomic(
        self, name: str, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """See `WorkflowContext.atomic()`; ``fn`` is a plain function."""
        return await self._pass.meet(AtomicStep, name, self._options, (fn, args, kwargs))  # type: ignore[no-any-return]

    async def sleep(self, name: str, duration: Any) -> None:
        """See `WorkflowContext.sleep()`."""
        await self._pass.meet(SleepStep, name, self._options, (parse_duration(duration),))

    async def sleep_until(self, name: str, when: datetime | date | str | float) -> None:
        """See `WorkflowContext.sleep_until()`."""
        await self._pass.meet(SleepUntilStep, name, self._options, (parse_moment(when),))

    async def wait_for_event(
        self,
        name: str,
        event_id: str | Iterable[str],
        timeout: Any = "7d",
        *,
        count: int | None = None,
        lookback: Any = None,
    ) -> EventResult:
        """See `WorkflowContext.wait_for_event()`."""
        wanted = Wanted.of(event_id, timeout, count, lookback)
        return EventResult.from_record(
            await self._pass.meet(WaitForEventStep, name, self._options, (wanted,))
        )

    async def notify(
        self,
        name: str,
        event_id: str,
        event_data: Any = None,
        workflow_run_id: str | None = None,
        keep: bool = True,
    ) -> SentEvent:
        """See `WorkflowContext.notify()`."""
        fields = notify_fields(event_id, event_data, workflow_run_id, keep)
        return SentEvent.from_record(await self._pass.meet(NotifyStep, name, self._options, fields))

    @overload
    async def parallel(self, a: AsyncBranch[A], b: AsyncBranch[B], /) -> tuple[A, B]: ...
    @overload
    async def parallel(
        self, a: AsyncBranch[A], b: AsyncBranch[B], c: AsyncBranch[C], /
    ) -> tuple[A, B, C]: ...
    @overload
    async def parallel(self, *branches: AsyncBranch[T]) -> tuple[T, ...]: ...
    @overload
    async def parallel(
        self, *branches: AsyncBranch[Any], return_errors: bool = False
    ) -> tuple[Any, ...]: ...
    async def parallel(
        self, *branches: AsyncBranch[Any], return_errors: bool = False
    ) -> tuple[Any, ...]:
        """See `WorkflowContext.parallel()`; branches are coroutines, or functions that return one."""
        return await self._pass.parallel(branches, return_errors)  # type: ignore[no-any-return]

    async def now(self) -> datetime:
        """See `WorkflowContext.now()`; of the whole run, as its tasks see results in one order."""
        return self._pass.now()

    async def uuid(self) -> UUID:
        """See `WorkflowContext.uuid()`."""
        return self._pass.uuid()

    async def random(self) -> float:
        """See `WorkflowContext.random()`."""
        return self._pass.random().random()

    async def cancel(self) -> NoReturn:
        """See `WorkflowContext.cancel()`."""
        self._pass.cancel()


def notify_fields(
    event_id: Any, event_data: Any, workflow_run_id: Any, keep: Any
) -> tuple[str, str, str | None, bool]:
    """Check what an event is to be sent with, and return it with the data as stored.

    Raises:
        InvalidOptionError: an argument cannot work.
        NotSerializableError: the data cannot be stored.
    """
    if workflow_run_id is not None and not isinstance(workflow_run_id, str):
        raise InvalidOptionError(f"workflow_run_id is the ID of a run, not {workflow_run_id!r}.")
    if not isinstance(keep, bool):
        raise InvalidOptionError(f"keep is True or False, not {keep!r}.")
    text = codec.dumps(event_data, what="event_data")
    return check_event_id(event_id), text, workflow_run_id, keep


def check_branches(branches: tuple[Any, ...], *, may_be_awaitable: bool = False) -> None:
    """Refuse what cannot be told apart: functions made in a loop over one variable.

    Raises:
        InvalidOptionError: a branch cannot be called, or two share their code and what they close over.
    """
    seen: dict[Any, int] = {}
    for index, branch in enumerate(branches):
        if not callable(branch) and not (may_be_awaitable and isinstance(branch, Awaitable)):
            raise InvalidOptionError(
                f"Branch {index} of ctx.parallel is {branch!r}; give a function without arguments."
            )
        if not isinstance(branch, FunctionType) or branch.__defaults__ or branch.__kwdefaults__:
            continue
        # By identity: cells compare by what is in them, and code by what it does.
        closure = tuple(map(id, branch.__closure__ or ()))
        twin = seen.setdefault((id(branch.__code__), closure), index)
        if branches[twin] is not branch:
            raise InvalidOptionError(
                f"Branches {twin} and {index} of ctx.parallel are the same function over the same variables, as a "
                "loop makes them: all would see the last value. Use ctx.map, or bind the value as a default."
            )
