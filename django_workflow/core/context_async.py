"""The verbs of an async workflow function: the same, awaited."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import date, datetime
from typing import Any, NoReturn, overload
from uuid import UUID

from django_workflow.core.approvals import ApprovalRequest, ApprovalResult
from django_workflow.core.arguments import invoke_fields, notify_fields
from django_workflow.core.calls import CallRequest, CallResult
from django_workflow.core.context import A, AsyncBranch, B, BaseContext, C, D, Item, PayloadT
from django_workflow.core.durations import parse_duration, parse_moment
from django_workflow.core.events import EventResult, SentEvent, Wanted
from django_workflow.core.faults import mapped
from django_workflow.core.flow import FlowControl
from django_workflow.core.maps import map_fields
from django_workflow.core.races import RaceResult
from django_workflow.core.retry import RetryPolicy
from django_workflow.core.steps import (
    AtomicStep,
    CallStep,
    CreateWebhookStep,
    InvokeStep,
    MapStep,
    NotifyStep,
    RunStep,
    SleepStep,
    SleepUntilStep,
    WaitForApprovalStep,
    WaitForEventStep,
    WaitForWebhookStep,
)
from django_workflow.core.types import P, T
from django_workflow.core.webhooks import (
    Webhook,
    WebhookOptions,
    WebhookResult,
    check_webhook,
)


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

    async def call(
        self,
        name: str,
        url: str,
        *,
        method: str = "GET",
        json: Any = None,
        form: Mapping[str, Any] | None = None,
        body: str | bytes | Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: Any = None,
        retries: int | RetryPolicy | None = None,
        retry_delay: Any = None,
        flow_control: FlowControl | None = None,
    ) -> CallResult:
        """See `WorkflowContext.call()`."""
        request = CallRequest.of(
            url, method=method, json=json, form=form, body=body, headers=headers
        )
        options = self._options.over_given(
            timeout=timeout, retries=retries, retry_delay=retry_delay, flow_control=flow_control
        )
        return CallResult.from_record(await self._pass.meet(CallStep, name, options, (request,)))

    async def invoke(
        self, name: str, workflow: Any, payload: Any = None, *, cascade: bool = True, **options: Any
    ) -> Any:
        """See `WorkflowContext.invoke()`."""
        fields = invoke_fields(workflow, payload, cascade, options, self._options.flow_control)
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
        schema: Any = None,
    ) -> EventResult:
        """See `WorkflowContext.wait_for_event()`."""
        wanted = Wanted.of(event_id, timeout, count, lookback, schema)
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

    async def create_webhook(
        self,
        name: str,
        *,
        verifier: Any = None,
        single_use: bool = False,
        expires: Any = None,
        max_bytes: int | None = None,
        response: Any = None,
    ) -> Webhook:
        """See `WorkflowContext.create_webhook()`."""
        wanted = WebhookOptions.of(verifier, single_use, expires, max_bytes, response)
        return Webhook.from_record(
            await self._pass.meet(CreateWebhookStep, name, self._options, (wanted,))
        )

    async def wait_for_webhook(
        self, name: str, webhook: Webhook, timeout: Any = "7d"
    ) -> WebhookResult:
        """See `WorkflowContext.wait_for_webhook()`."""
        found = check_webhook(webhook, self.workflow_run_id)
        wanted = Wanted.of(found.event_id, timeout, None, None)
        return WebhookResult.from_record(
            await self._pass.meet(WaitForWebhookStep, name, self._options, (wanted,))
        )

    async def wait_for_approval(
        self,
        name: str,
        *,
        form: Any = None,
        permission: str | None = None,
        assignees: Any = None,
        timeout: Any = "7d",
        reminders: Any = None,
        title: str | None = None,
        description: str | None = None,
    ) -> ApprovalResult:
        """See `WorkflowContext.wait_for_approval()`."""
        request = ApprovalRequest.of(
            name, form, permission, assignees, timeout, reminders, title, description
        )
        return ApprovalResult.from_record(
            await self._pass.meet(WaitForApprovalStep, name, self._options, (request,))
        )

    @overload
    async def parallel(self, a: AsyncBranch[A], b: AsyncBranch[B], /) -> tuple[A, B]: ...
    @overload
    async def parallel(
        self, a: AsyncBranch[A], b: AsyncBranch[B], c: AsyncBranch[C], /
    ) -> tuple[A, B, C]: ...
    @overload
    async def parallel(
        self, a: AsyncBranch[A], b: AsyncBranch[B], c: AsyncBranch[C], d: AsyncBranch[D], /
    ) -> tuple[A, B, C, D]: ...
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

    async def race(self, *branches: AsyncBranch[Any], losers: str = "cancel") -> RaceResult:
        """See `WorkflowContext.race()`; branches are coroutines, or functions that return one."""
        return await self._pass.race(branches, losers)  # type: ignore[no-any-return]

    @overload
    async def map(
        self,
        name: str,
        fn: Callable[[Item], Awaitable[T]],
        items: Iterable[Item],
        *,
        max_parallel: int | None = None,
        return_errors: bool = False,
    ) -> list[T]: ...
    @overload
    async def map(
        self,
        name: str,
        fn: Callable[[Item], T],
        items: Iterable[Item],
        *,
        max_parallel: int | None = None,
        return_errors: bool = False,
    ) -> list[T]: ...
    async def map(
        self,
        name: str,
        fn: Callable[[Any], Any],
        items: Iterable[Any],
        *,
        max_parallel: int | None = None,
        return_errors: bool = False,
    ) -> list[Any]:
        """See `WorkflowContext.map()`."""
        fields = map_fields(fn, items, max_parallel, return_errors)
        return mapped(name, await self._pass.meet(MapStep, name, self._options, fields))

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

    async def continue_as_new(self, payload: Any = None) -> NoReturn:
        """See `WorkflowContext.continue_as_new()`."""
        self._pass.continue_as_new(payload)
