"""The verbs of a plain workflow function."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping
from datetime import date, datetime
from typing import Any, NoReturn, overload
from uuid import UUID

from django_workflow.core.approvals import ApprovalRequest, ApprovalResult
from django_workflow.core.arguments import invoke_fields, notify_fields
from django_workflow.core.calls import CallRequest, CallResult
from django_workflow.core.context import A, B, BaseContext, C, D, Item, PayloadT
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


class WorkflowContext(BaseContext[PayloadT]):
    """The context of a sync workflow. A verb returns the recorded value, or leaves the function there."""

    def using(self, **options: Any) -> WorkflowContext[PayloadT]:
        """Return the same context with other options for its steps: ``retries``, ``retry_delay``, ``retry_on``, ``timeout``,
        ``overlap``, ``flow_control``.

        Raises:
            InvalidOptionError: an option is unknown or cannot work.
        """
        return WorkflowContext(self._pass, self._options.using(**options))

    @overload
    def run(
        self,
        name: str,
        fn: Callable[P, Coroutine[Any, Any, T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T: ...
    @overload
    def run(self, name: str, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    def run(self, name: str, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Execute ``fn`` as a step: at least once; its result is recorded at most once.

        The value returned is the decoded record, already at the first pass; at replay ``fn`` is not called.

        Raises:
            StepError: the step gave up after its retries.
        """
        return self._pass.meet(RunStep, name, self._options, (fn, args, kwargs))

    def atomic(self, name: str, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Execute ``fn`` in a transaction that commits its ORM writes together with the record: exactly once.

        Writes on other database aliases than the journal's are refused while it runs.

        Raises:
            StepError: the step gave up after its retries; nothing of it was committed.
        """
        return self._pass.meet(AtomicStep, name, self._options, (fn, args, kwargs))  # type: ignore[no-any-return]

    def call(
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
        """Send an HTTP request and wait for its answer; no worker slot and no web process is held meanwhile.

        Any status is a result, not an error. Made at least once: the ``Idempotency-Key`` header is the same at each
        attempt, also after a crash. Private addresses are refused unless ``WORKFLOW["CALL_ALLOW"]`` opens them.

        Args:
            name: The step's name.
            url: An http or https URL.
            method: The HTTP method.
            json: A body, sent as JSON.
            form: A body, sent as a form.
            body: A body as text or bytes.
            headers: What is sent along. Secrets are masked wherever they are shown.
            timeout: How long one attempt may take; default ``WORKFLOW["CALL_TIMEOUT"]``.
            retries: How often the request is repeated where there is no answer, or one of 408, 425, 429 and 5xx;
                default: what `using()` says, else not at all.
            retry_delay: The time between attempts, unless the answer asks for another one.
            flow_control: The limits under which each attempt is made; default: what `using()` says, else none.

        Raises:
            InvalidOptionError: an argument cannot work.
            NotSerializableError: ``json`` is no JSON.
            PayloadTooLargeError: the body is too long.
            CallError: there was no answer, after all retries.
        """
        request = CallRequest.of(
            url, method=method, json=json, form=form, body=body, headers=headers
        )
        options = self._options.over_given(
            timeout=timeout, retries=retries, retry_delay=retry_delay, flow_control=flow_control
        )
        return CallResult.from_record(self._pass.meet(CallStep, name, options, (request,)))

    def invoke(
        self, name: str, workflow: Any, payload: Any = None, *, cascade: bool = True, **options: Any
    ) -> Any:
        """Start a run of another workflow, wait until it has ended, and return its result.

        The child is a run of its own: its retries, labels and dead letter are its own. An error that the parent does
        not catch fails the parent; the child is left as it is then.

        Args:
            name: The step's name.
            workflow: The workflow, or the name under which it is registered.
            payload: Its payload.
            cascade: Whether the child is cancelled with this run.
            options: The options of `Workflow.trigger()`; ``flow_control`` limits the child's bodies, and is what
                `using()` says where it is not given.

        Raises:
            ChildRunError: the child failed, after its failure handler has ended, or was cancelled.
            InvalidOptionError: an argument cannot work.
            StepError: the payload does not fit, the id is taken, or runs invoke each other too deep.
            StepTimeoutError: ``using(timeout=…)`` was over first; the child goes on.
            WorkflowNotFoundError: no workflow of this name is registered.
        """
        fields = invoke_fields(workflow, payload, cascade, options, self._options.flow_control)
        return self._pass.meet(InvokeStep, name, self._options, fields)

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
        schema: Any = None,
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
            schema: What the data have to fit: a form or serializer class, or a callable that returns the cleaned data or
                raises ValueError; importable, as it is asked where the event is sent. Data that do not fit end no wait.

        Raises:
            InvalidOptionError: an argument cannot work.
        """
        wanted = Wanted.of(event_id, timeout, count, lookback, schema)
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
            StepError: there is no run ``workflow_run_id``, the data are too long, or the event is that of a webhook or an
                approval.
        """
        fields = notify_fields(event_id, event_data, workflow_run_id, keep)
        return SentEvent.from_record(self._pass.meet(NotifyStep, name, self._options, fields))

    def create_webhook(
        self,
        name: str,
        *,
        verifier: Any = None,
        single_use: bool = False,
        expires: Any = None,
        max_bytes: int | None = None,
        response: Any = None,
    ) -> Webhook:
        """Make a URL of this run's own; each of its calls is kept for a `wait_for_webhook()`, in order.

        It ends with the run. Whoever knows the URL may call it, so let a ``verifier`` check who does.

        Args:
            name: The step's name.
            verifier: One of ``webhook_verifiers``, or an importable callable ``(request) -> bool``.
            single_use: Whether it takes one call only.
            expires: For how long, or until when, it takes calls.
            max_bytes: The longest body; default ``WORKFLOW["WEBHOOK_MAX_BYTES"]``.
            response: What callers are answered: JSON, or an importable callable ``(request)`` that returns it.

        Raises:
            InvalidOptionError: an argument cannot work.
            StepError: no URL is known: ``WORKFLOW["BASE_URL"]`` or the urlconf's include is missing.
        """
        wanted = WebhookOptions.of(verifier, single_use, expires, max_bytes, response)
        return Webhook.from_record(
            self._pass.meet(CreateWebhookStep, name, self._options, (wanted,))
        )

    def wait_for_webhook(self, name: str, webhook: Webhook, timeout: Any = "7d") -> WebhookResult:
        """Wait until the webhook is called, or the timeout is over; costs nothing meanwhile.

        A call that came earlier counts, the oldest first; wait again for the next. A timeout is a result
        (``.timed_out``), not an error.

        Raises:
            InvalidOptionError: an argument cannot work, or the webhook is another run's.
        """
        found = check_webhook(webhook, self.workflow_run_id)
        wanted = Wanted.of(found.event_id, timeout, None, None)
        return WebhookResult.from_record(
            self._pass.meet(WaitForWebhookStep, name, self._options, (wanted,))
        )

    def wait_for_approval(
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
        """Wait until somebody has approved or rejected, or the timeout is over; costs nothing meanwhile.

        Decided in the admin, by the link in a mail, or with `decide_approval()`. A rejection and a timeout are results
        (``.approved`` is False), not errors.

        Args:
            name: The step's name.
            form: A Django form class that is filled in to approve; its cleaned data are ``.data``.
            permission: Who may decide: users with this permission, as ``"app_label.codename"``.
            assignees: Who else: users, groups, ``"user:NAME"``, ``"group:NAME"``, mail addresses. They are written to.
            timeout: How long to wait.
            reminders: When to write again: one duration is how far apart, a list of them how long after the request.
            title: What it is called; default the step's name.
            description: What the decision is about.

        Raises:
            InvalidOptionError: an argument cannot work.
        """
        request = ApprovalRequest.of(
            name, form, permission, assignees, timeout, reminders, title, description
        )
        return ApprovalResult.from_record(
            self._pass.meet(WaitForApprovalStep, name, self._options, (request,))
        )

    @overload
    def parallel(self, a: Callable[[], A], b: Callable[[], B], /) -> tuple[A, B]: ...
    @overload
    def parallel(
        self, a: Callable[[], A], b: Callable[[], B], c: Callable[[], C], /
    ) -> tuple[A, B, C]: ...
    @overload
    def parallel(
        self, a: Callable[[], A], b: Callable[[], B], c: Callable[[], C], d: Callable[[], D], /
    ) -> tuple[A, B, C, D]: ...
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

    def race(self, *branches: Callable[[], Any], losers: str = "cancel") -> RaceResult:
        """Run branches side by side until the first of them has ended, and return ``.index`` and ``.result`` of that one.

        A branch that raises has ended too: if it is the first, the race raises its error. The branch whose last record
        came first has won, and is recorded before anything behind the race is asked for; from then on nothing of
        the losers runs or is recorded, neither their open steps nor what their ``finally`` blocks ask for.

        Args:
            branches: Functions without arguments, each a sequence of steps of its own.
            losers: ``"cancel"`` closes the losers' open steps at once; ``"leave"`` lets bodies that are under way, or
                due, end and be recorded, and begins no further step.

        Raises:
            InvalidOptionError: there is no branch, or one that cannot be called.
        """
        return self._pass.race(branches, losers)  # type: ignore[no-any-return]

    @overload
    def map(
        self,
        name: str,
        fn: Callable[[Item], Coroutine[Any, Any, T]],
        items: Iterable[Item],
        *,
        max_parallel: int | None = None,
        return_errors: bool = False,
    ) -> list[T]: ...
    @overload
    def map(
        self,
        name: str,
        fn: Callable[[Item], T],
        items: Iterable[Item],
        *,
        max_parallel: int | None = None,
        return_errors: bool = False,
    ) -> list[T]: ...
    def map(
        self,
        name: str,
        fn: Callable[[Any], Any],
        items: Iterable[Any],
        *,
        max_parallel: int | None = None,
        return_errors: bool = False,
    ) -> list[Any]:
        """Call ``fn`` with each item, many of them at a time, and return the results in the order of the items.

        One step for any number of items: each is recorded for itself, retried for itself, and has its own
        idempotency key; ``current_step().index`` tells which it is. The items are divided into ``max_parallel`` slices
        (50 if it is not given), each of which executes its items one after the other. The map ends when every item has.

        Args:
            name: The step's name.
            fn: Called with one item; a closure is as good as a function of a module, and it may be async.
            items: The items; each must be storable.
            max_parallel: How many items are executed at once, at most.
            return_errors: Whether a StepError stands in the place of an item that gave up.

        Raises:
            InvalidOptionError: an argument cannot work.
            NotSerializableError: an item cannot be stored.
            StepError: an item gave up after its retries: the first by its place, ``.index``, with others on ``.others``.
        """
        fields = map_fields(fn, items, max_parallel, return_errors)
        return mapped(name, self._pass.meet(MapStep, name, self._options, fields))

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

    def continue_as_new(self, payload: Any = None) -> NoReturn:
        """End this generation of the run here, and begin the next one: same id, empty journal, new payload.

        The workflow begins from its top under its latest version, at once. Labels, options and what waits in the
        mailbox stay; idempotency keys change; the journal so far is kept under ``run.generations``.

        Raises:
            NotSerializableError: the payload cannot be stored; the error names the path.
            MisplacedStepError: steps or branches are open, or the failure handler asks.
        """
        self._pass.continue_as_new(payload)
