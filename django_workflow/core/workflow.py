"""``@workflow``: a function becomes a workflow object, which is a Django view too; and the registry of them.

A workflow has a name and versions. The body under ``@workflow`` is version "1" unless named; a new run gets the
version registered last, old runs keep theirs.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Generic, Protocol, TypeVar, overload

from asgiref.sync import markcoroutinefunction

from django_workflow.core.arguments import check_function
from django_workflow.core.context import PayloadT
from django_workflow.core.context_async import AsyncWorkflowContext
from django_workflow.core.context_sync import WorkflowContext
from django_workflow.core.crons import Cron
from django_workflow.core.exceptions import InvalidOptionError, WorkflowNotFoundError
from django_workflow.core.flow import FlowControl, Singleton
from django_workflow.core.options import (
    TriggerOptions,
    WorkflowOptions,
    checked_name,
    checked_version,
    plan_of,
    workflow_options,
)
from django_workflow.core.ports import get_door, get_runtime
from django_workflow.core.retry import RetryOn, RetryPolicy

#: How many workflows a message names.
MOST_NAMED = 20

ResultT = TypeVar("ResultT")


class Workflow(Generic[PayloadT, ResultT]):
    """A workflow: trigger it, put it into a urlconf, register versions and a failure handler."""

    # Django's login middleware, CSRF middleware and ATOMIC_REQUESTS look for these on a view. The door checks
    # signatures, permissions and CSRF itself, and a pass refuses to run inside an open transaction.
    csrf_exempt = True
    login_required = False

    def __init__(self, function: Callable[..., Any], options: WorkflowOptions) -> None:
        functools.update_wrapper(self, function)
        self.options = options
        self.name = checked_name(options.name or getattr(function, "__name__", None))
        check_function(function, f'Workflow "{self.name}"')
        self.versions: dict[str, Callable[..., Any]] = {options.version: function}
        self.failure_handler: Callable[..., Any] | None = None
        self.is_async = inspect.iscoroutinefunction(function)
        self._non_atomic_requests = _Everything()
        if self.is_async:
            markcoroutinefunction(self)

    def __repr__(self) -> str:
        return f"<Workflow {self.name}>"

    def __call__(self, request: Any = None, /, *args: Any, **kwargs: Any) -> Any:
        """Answer a request: a signed POST is a delivery, any other a trigger.

        Raises:
            InvalidOptionError: it is called like the function that it was made of.
        """
        if not hasattr(request, "method"):
            raise InvalidOptionError(
                f'Workflow "{self.name}" is not called. Start a run with .trigger(payload); in a workflow, wait for one with '
                "ctx.invoke(name, workflow, payload)."
            )
        return get_door()(self, request)

    @property
    def latest_version(self) -> str:
        """The version that new runs get: the one registered last."""
        return next(reversed(self.versions))

    def version(self, name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Register the decorated function as another version, which new runs get from now on.

        Raises:
            InvalidOptionError: the version exists, or is async where the workflow is not.
        """

        # Not in the decorator alone: without its name, `@fulfil.version` is called once, with the function.
        checked_version(name)

        def register(function: Callable[..., Any]) -> Callable[..., Any]:
            if name in self.versions:
                raise InvalidOptionError(f'Workflow "{self.name}" has a version "{name}" already.')
            self._check_colour(function, f'version "{name}"')
            check_function(function, f'Version "{name}" of workflow "{self.name}"')
            self.versions[name] = function
            return function

        return register

    def on_failure(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Register the decorated function ``(ctx, failure)`` as the failure handler; it may hold steps.

        Raises:
            InvalidOptionError: there is one already, or it is async where the workflow is not.
        """
        if self.failure_handler is not None:
            raise InvalidOptionError(f'Workflow "{self.name}" has a failure handler already.')
        self._check_colour(function, "failure handler")
        check_function(function, f'The failure handler of workflow "{self.name}"', "ctx", "failure")
        self.failure_handler = function
        return function

    def _check_colour(self, function: Callable[..., Any], what: str) -> None:
        if inspect.iscoroutinefunction(function) != self.is_async:
            kind = "async" if self.is_async else "a plain function"
            raise InvalidOptionError(
                f'Workflow "{self.name}" is {kind}; its {what} "{function.__name__}" must be too.'
            )

    def trigger(self, payload: PayloadT | None = None, **options: Any) -> Any:
        """Start a run, in the caller's transaction, and return it.

        Options: ``workflow_run_id``, ``label`` (one or several), ``headers``, ``delay``, ``not_before``, ``retries``,
        ``retry_delay``, ``timeout``, ``version``, ``detached``, ``redact`` (paths that no window shows), ``about`` (any
        model instance), ``by`` (a user or a name), ``flow_control``, ``priority``, ``debounce``, ``throttle``, ``ttl``.
        Rolled back, nothing has happened; committed, it will run. A used id with the same workflow and payload returns
        the existing run, with ``created`` False.

        Raises:
            InvalidOptionError: an option cannot work, or the transaction is open on another alias.
            NotSerializableError: the payload cannot be stored; the error names the path.
            PayloadTooLargeError: it is larger than ``WORKFLOW["MAX_PAYLOAD_BYTES"]``.
            RunExistsError: the id belongs to a run with another workflow or payload.
        """
        return get_runtime().trigger(self, payload, TriggerOptions.checked(**options))

    async def atrigger(self, payload: PayloadT | None = None, **options: Any) -> Any:
        """See `trigger()`."""
        return await get_runtime().in_thread(self.trigger, payload, **options)

    def trigger_many(
        self, payloads: Iterable[PayloadT | Mapping[str, Any]], /, **options: Any
    ) -> list[Any]:
        """Start a run for each payload, all or nothing, in one round trip per hundred; return them in order.

        The options of `trigger()` hold for all; ``workflow_run_ids`` is a list of ids, one for each payload.
        """
        run_ids = options.pop("workflow_run_ids", None)
        return get_runtime().trigger_many(  # type: ignore[no-any-return]
            self, list(payloads), TriggerOptions.checked(**options), run_ids
        )

    async def atrigger_many(self, payloads: Iterable[PayloadT], /, **options: Any) -> list[Any]:
        """See `trigger_many()`."""
        return await get_runtime().in_thread(self.trigger_many, payloads, **options)  # type: ignore[no-any-return]

    def schedule(
        self,
        cron: str | Cron,
        *,
        schedule_id: str,
        payload: PayloadT | None = None,
        timezone: Any = None,
        overlap: str | None = None,
        catch_up: str | None = None,
        jitter: Any = None,
        **options: Any,
    ) -> Any:
        """Create the schedule with this id, or give it this plan, payload and options; return it.

        Joins the caller's transaction. ``cron``, ``timezone`` and the policies are those of `Cron`, the other options those
        of `trigger()`; the payload is checked now. A plan whose times stay the same keeps its next slot.

        Raises:
            InvalidOptionError: something cannot work, or the id is taken by another workflow or by code.
        """
        plan = plan_of(cron, timezone, overlap=overlap, catch_up=catch_up, jitter=jitter)
        return get_runtime().schedule(self, plan, schedule_id, payload, options)

    async def aschedule(self, cron: str | Cron, **options: Any) -> Any:
        """See `schedule()`."""
        return await get_runtime().in_thread(self.schedule, cron, **options)

    def unschedule(self, schedule_id: str) -> bool:
        """Delete a schedule of this workflow; runs that it started go on. Returns False if there was none.

        Raises:
            InvalidOptionError: it is another workflow's, or declared in code.
        """
        return get_runtime().unschedule(self, schedule_id)  # type: ignore[no-any-return]

    async def aunschedule(self, schedule_id: str) -> bool:
        """See `unschedule()`."""
        return await get_runtime().in_thread(self.unschedule, schedule_id)  # type: ignore[no-any-return]


class _Everything:
    """Holds every database alias, so that no request to a workflow is made atomic."""

    def __contains__(self, alias: object) -> bool:
        return True


class Registry:
    """The workflows of this process, by name."""

    def __init__(self) -> None:
        self._workflows: dict[str, Workflow[Any, Any]] = {}
        #: Pairs that ask for one name; a system check reports them.
        self.clashes: list[tuple[str, str, str]] = []

    def add(self, workflow: Workflow[Any, Any]) -> None:
        """Register a workflow; another one of the same name is kept aside for the system check."""
        known = self._workflows.get(workflow.name)
        if known is not None and _place(known) != _place(workflow):
            self.clashes.append((workflow.name, _place(known), _place(workflow)))
        self._workflows[workflow.name] = workflow

    def get(self, name: str) -> Workflow[Any, Any]:
        """Return the workflow of this name.

        Raises:
            WorkflowNotFoundError: this process knows none.
        """
        try:
            return self._workflows[name]
        except KeyError:
            known = sorted(self._workflows)
            more = len(known) - MOST_NAMED
            shown = ", ".join(known[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
            raise WorkflowNotFoundError(
                f'No workflow "{name}" is registered in this process. Known: {shown or "none"}. '
                "Define it in a module named workflows of an installed app.",
                name=name,
            ) from None

    def find(self, name: str) -> Workflow[Any, Any] | None:
        """Return the workflow of this name, or None."""
        return self._workflows.get(name)

    def remove(self, name: str) -> None:
        """Forget a workflow, as tests do."""
        self._workflows.pop(name, None)

    def __iter__(self) -> Any:
        return iter([self._workflows[name] for name in sorted(self._workflows)])


def _place(workflow: Workflow[Any, Any]) -> str:
    return f"{workflow.__module__}.{getattr(workflow, '__qualname__', workflow.name)}"


registry = Registry()


class _Decorator(Protocol):
    """What ``@workflow(...)`` returns, so that options cost no types."""

    @overload
    def __call__(
        self, function: Callable[[WorkflowContext[PayloadT]], ResultT], /
    ) -> Workflow[PayloadT, ResultT]: ...
    @overload
    def __call__(
        self, function: Callable[[AsyncWorkflowContext[PayloadT]], Awaitable[ResultT]], /
    ) -> Workflow[PayloadT, ResultT]: ...


@overload
def workflow(
    function: Callable[[WorkflowContext[PayloadT]], ResultT], /
) -> Workflow[PayloadT, ResultT]: ...
@overload
def workflow(
    function: Callable[[AsyncWorkflowContext[PayloadT]], Awaitable[ResultT]], /
) -> Workflow[PayloadT, ResultT]: ...
@overload
def workflow(
    *,
    name: str | None = None,
    version: str = "1",
    retries: int | RetryPolicy | None = None,
    retry_delay: Any = None,
    retry_on: RetryOn | None = None,
    step_timeout: Any = None,
    timeout: Any = None,
    transport: str | None = None,
    url: str | None = None,
    steps_per_pass: int | None = None,
    strict_arguments: bool = False,
    trigger_permission: Callable[[Any], Any] | None = None,
    payload_schema: Any = None,
    payload_parser: Callable[[Any], Any] | None = None,
    schedule: str | Cron | None = None,
    timezone: Any = None,
    redact: Iterable[str] = (),
    flow_control: FlowControl | None = None,
    singleton: Singleton | None = None,
) -> _Decorator: ...
def workflow(function: Any = None, /, **options: Any) -> Any:
    """Make a function a workflow: ``@workflow`` or ``@workflow(retries=5, …)``.

    Raises:
        InvalidOptionError: an option is unknown or cannot work.
    """
    made = workflow_options(options)

    def decorate(function: Callable[..., Any]) -> Workflow[Any, Any]:
        if not callable(function):
            raise InvalidOptionError(f"@workflow decorates a function, not {function!r}.")
        found: Workflow[Any, Any] = Workflow(function, made)
        registry.add(found)
        return found

    return decorate if function is None else decorate(function)
