"""The verbs of an async workflow function: the same, awaited."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from datetime import date, datetime
from typing import Any, NoReturn, overload
from uuid import UUID

from django_workflow.core.arguments import invoke_fields, notify_fields
from django_workflow.core.context import A, AsyncBranch, B, BaseContext, C, PayloadT
from django_workflow.core.durations import parse_duration, parse_moment
from django_workflow.core.events import EventResult, SentEvent, Wanted
from django_workflow.core.steps import (
    AtomicStep,
    InvokeStep,
    NotifyStep,
    RunStep,
    SleepStep,
    SleepUntilStep,
    WaitForEventStep,
)
from django_workflow.core.types import P, T


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

    async def invoke(
        self, name: str, workflow: Any, payload: Any = None, *, cascade: bool = True, **options: Any
    ) -> Any:
        """See `WorkflowContext.invoke()`."""
        fields = invoke_fields(workflow, payload, cascade, options)
        return await self._pass.meet(InvokeStep, name, self._options, fields)

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
