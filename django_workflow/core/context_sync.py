"""The verbs of a plain workflow function."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date, datetime
from typing import Any, NoReturn, overload
from uuid import UUID

from django_workflow.core.arguments import notify_fields
from django_workflow.core.context import A, B, BaseContext, C, PayloadT
from django_workflow.core.durations import parse_duration, parse_moment
from django_workflow.core.events import EventResult, SentEvent, Wanted
from django_workflow.core.steps import (
    AtomicStep,
    NotifyStep,
    RunStep,
    SleepStep,
    SleepUntilStep,
    WaitForEventStep,
)
from django_workflow.core.types import P, T


class WorkflowContext(BaseContext[PayloadT]):
    """The context of a sync workflow. A verb returns the recorded value, or leaves the function there."""

    def using(self, **options: Any) -> WorkflowContext[PayloadT]:
        """Return the same context with ``retries``, ``retry_delay``, ``timeout``, ``overlap`` or ``flow_control`` for its
        steps.

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
