"""``@workflow``: a function becomes a workflow object, which is a Django view too; and the registry of them.

A workflow has a name and versions. The body under ``@workflow`` is version "1" unless named; a new run gets the
version registered last, old runs keep theirs.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Generic, Protocol, TypeVar, overload

from asgiref.sync import markcoroutinefunction

from django_workflow.core.context import (
    AsyncWorkflowContext,
    PayloadT,
    WorkflowContext,
    notify_fields,
)
from django_workflow.core.durations import parse_duration, parse_moment
from django_workflow.core.exceptions import InvalidOptionError, WorkflowNotFoundError
from django_workflow.core.ports import get_door, get_runtime
from django_workflow.core.retry import RetryPolicy
from django_workflow.core.steps import NO_OPTIONS, StepOptions
from django_workflow.core.types import Failure

ResultT = TypeVar("ResultT")
NAME_LENGTH = 200
TRANSPORTS = (None, "inline", "http")


@dataclass(frozen=True, kw_only=True, slots=True)
class TriggerOptions:
    """What ``trigger()`` takes beside the payload, checked."""

    workflow_run_id: str | None = None
    labels: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: timedelta = timedelta(0)
    not_before: datetime | None = None
    retries: RetryPolicy | int | None = None
    retry_delay: timedelta | None = None
    timeout: timedelta | None = None
    version: str | None = None
    detached: bool = False

    @classmethod
    def checked(cls, **given: Any) -> TriggerOptions:
        """Build options from what a user wrote.

        Raises:
            InvalidOptionError: an option is unknown or cannot work.
        """
        label = given.pop("label", None)
        known = {name for name in cls.__dataclass_fields__ if name != "labels"}
        unknown = sorted(set(given) - known)
        if unknown:
            raise InvalidOptionError(
                f"trigger() has no option {unknown[0]!r}. Known: {', '.join(sorted(known | {'label'}))}."
            )
        run_id = given.get("workflow_run_id")
        if run_id is not None:
            _check_run_id(run_id)
        for name in ("delay", "retry_delay", "timeout"):
            if given.get(name) is not None:
                given[name] = parse_duration(given[name])
        if given.get("delay") is None:
            given.pop("delay", None)
        if given.get("not_before") is not None:
            given["not_before"] = parse_moment(given["not_before"])
        if given.get("retries") is not None:
            RetryPolicy.of(given["retries"], RetryPolicy())
        given["headers"] = _headers(given.get("headers"))
        return cls(labels=_labels(label), **given)


def _check_run_id(run_id: Any) -> None:
    if (
        not isinstance(run_id, str)
        or not run_id.strip()
        or len(run_id) > 128
        or not run_id.isprintable()
    ):
        raise InvalidOptionError(
            f"workflow_run_id must be a printable text of 1 to 128 characters, not {run_id!r}."
        )


def _labels(label: Any) -> tuple[str, ...]:
    given = () if label is None else (label,) if isinstance(label, str) else label
    labels = list(given) if isinstance(given, Iterable) else [given]
    for one in labels:
        if not isinstance(one, str) or not one or len(one) > 100 or not one.isprintable():
            raise InvalidOptionError(
                f"A label must be a printable text of 1 to 100 characters, not {one!r}."
            )
    return tuple(sorted(set(labels)))


def _headers(headers: Any) -> dict[str, str]:
    if headers is not None and not isinstance(headers, Mapping):
        raise InvalidOptionError(f"headers must be texts by text, not {headers!r}.")
    given = dict(headers or {})
    for name, value in given.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise InvalidOptionError(f"headers must be texts by text, not {name!r}: {value!r}.")
    return given


class Workflow(Generic[PayloadT, ResultT]):
    """A workflow: trigger it, put it into a urlconf, register versions and a failure handler."""

    # Django's login middleware, CSRF middleware and ATOMIC_REQUESTS look for these on a view. The door checks
    # signatures, permissions and CSRF itself, and a pass refuses to run inside an open transaction.
    csrf_exempt = True
    login_required = False

    def __init__(self, function: Callable[..., Any], options: WorkflowOptions) -> None:
        functools.update_wrapper(self, function)
        self.options = options
        self.name = _checked_name(options.name or getattr(function, "__name__", None))
        self.versions: dict[str, Callable[..., Any]] = {options.version: function}
        self.failure_handler: Callable[..., Any] | None = None
        self.is_async = inspect.iscoroutinefunction(function)
        self._non_atomic_requests = _Everything()
        if self.is_async:
            markcoroutinefunction(self)

    def __repr__(self) -> str:
        return f"<Workflow {self.name}>"

    def __call__(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Answer a request: a signed POST is a delivery, any other a trigger."""
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

        def register(function: Callable[..., Any]) -> Callable[..., Any]:
            if _checked_version(name) in self.versions:
                raise InvalidOptionError(f'Workflow "{self.name}" has a version "{name}" already.')
            self._check_colour(function, f'version "{name}"')
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
        ``retry_delay``, ``timeout``, ``version``, ``detached``. Rolled back, nothing has happened; committed, it will
        run. A used id with the same workflow and payload returns the existing run, with ``created`` False.

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


class _Everything:
    """Holds every database alias, so that no request to a workflow is made atomic."""

    def __contains__(self, alias: object) -> bool:
        return True


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkflowOptions:
    """The options of ``@workflow``, checked."""

    name: str | None = None
    version: str = "1"
    steps: StepOptions = NO_OPTIONS
    timeout: timedelta | None = None
    transport: str | None = None
    url: str | None = None
    steps_per_pass: int | None = None
    strict_arguments: bool = False
    trigger_permission: Callable[[Any], bool | Awaitable[bool]] | None = None
    payload_schema: Any = None
    payload_parser: Callable[[Any], Any] | None = None

    def __post_init__(self) -> None:
        if self.name is not None:
            _checked_name(self.name)
        _checked_version(self.version)
        if self.transport not in TRANSPORTS:
            raise InvalidOptionError(
                f'transport must be "inline" or "http", not {self.transport!r}.'
            )
        count = self.steps_per_pass
        if count is not None and (
            isinstance(count, bool) or not isinstance(count, int) or count < 1
        ):
            raise InvalidOptionError(
                f"steps_per_pass must be a whole number of 1 or more, not {count!r}."
            )


def _checked_version(version: Any) -> str:
    if not isinstance(version, str) or not version.isprintable() or not 1 <= len(version) <= 50:
        raise InvalidOptionError(
            f"A version is a printable text of 1 to 50 characters, not {version!r}."
        )
    return version


def _checked_name(name: Any) -> str:
    if (
        not isinstance(name, str)
        or not name.strip()
        or not name.isprintable()
        or not set(name).isdisjoint("/<>")
        or len(name) > NAME_LENGTH
    ):
        raise InvalidOptionError(
            f"A workflow's name is a printable text of 1 to {NAME_LENGTH} characters without /, < and >, "
            f"not {name!r}. Give one with @workflow(name=...)."
        )
    return name


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
            raise WorkflowNotFoundError(
                f'No workflow "{name}" is registered in this process. Known: {", ".join(sorted(self._workflows)) or "none"}. '
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
    step_timeout: Any = None,
    timeout: Any = None,
    transport: str | None = None,
    url: str | None = None,
    steps_per_pass: int | None = None,
    strict_arguments: bool = False,
    trigger_permission: Callable[[Any], Any] | None = None,
    payload_schema: Any = None,
    payload_parser: Callable[[Any], Any] | None = None,
) -> _Decorator: ...
def workflow(function: Any = None, /, **options: Any) -> Any:
    """Make a function a workflow: ``@workflow`` or ``@workflow(retries=5, …)``.

    Raises:
        InvalidOptionError: an option is unknown or cannot work.
    """
    made = _options(options)

    def decorate(function: Callable[..., Any]) -> Workflow[Any, Any]:
        if not callable(function):
            raise InvalidOptionError(f"@workflow decorates a function, not {function!r}.")
        found: Workflow[Any, Any] = Workflow(function, made)
        registry.add(found)
        return found

    return decorate if function is None else decorate(function)


def _options(given: dict[str, Any]) -> WorkflowOptions:
    steps = StepOptions.checked(
        retries=given.pop("retries", None),
        retry_delay=given.pop("retry_delay", None),
        timeout=given.pop("step_timeout", None),
    )
    if given.get("timeout") is not None:
        given["timeout"] = parse_duration(given["timeout"])
    known = set(WorkflowOptions.__dataclass_fields__) - {"steps"}
    unknown = sorted(set(given) - known)
    if unknown:
        raise InvalidOptionError(
            f"@workflow has no option {unknown[0]!r}. Known: retries, retry_delay, step_timeout, "
            f"{', '.join(sorted(known))}."
        )
    return WorkflowOptions(steps=steps, **given)


def get_run(run_id: str) -> Any:
    """Return the run with this id.

    Raises:
        RunNotFoundError: there is none.
    """
    return get_runtime().get_run(run_id)


async def aget_run(run_id: str) -> Any:
    """See `get_run()`."""
    return await get_runtime().in_thread(get_run, run_id)


def cancel_runs(
    *ids: str,
    label: str | None = None,
    workflow: Any = None,
    all: bool = False,  # noqa: A002  the seeds' name
) -> int:
    """Cancel unfinished runs by id, label or workflow, or ``all=True``; return how many were cancelled.

    Raises:
        InvalidOptionError: nothing was named.
    """
    return get_runtime().cancel_runs(ids, label=label, workflow=workflow, everything=all)  # type: ignore[no-any-return]


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
        InvalidOptionError: an argument cannot work, or a transaction is open on another alias alone.
        NotSerializableError: ``event_data`` cannot be stored.
        PayloadTooLargeError: ``event_data`` is longer than ``WORKFLOW["MAX_PAYLOAD_BYTES"]``.
        RunNotFoundError: there is no run ``workflow_run_id``.
    """
    return get_runtime().notify(*notify_fields(event_id, event_data, workflow_run_id, keep))


async def anotify(event_id: str, event_data: Any = None, **options: Any) -> Any:
    """See `notify()`."""
    return await get_runtime().in_thread(notify, event_id, event_data, **options)


def describe(failure: Failure) -> str:
    """Return a failure in one line, as lists show it."""
    place = f'step "{failure.step}"' if failure.step else "the code between steps"
    return f"{failure.error_class} in {place}: {failure.message}"
