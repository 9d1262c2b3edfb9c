"""What ``@workflow`` and ``trigger()`` take, checked at once: a wrong option is no matter of the tenth step."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django_workflow.core.actors import NOBODY, Actor
from django_workflow.core.crons import Cron
from django_workflow.core.durations import parse_duration, parse_moment
from django_workflow.core.exceptions import InvalidOptionError
from django_workflow.core.expressions import DelayExpression
from django_workflow.core.flow import (
    Debounce,
    FlowControl,
    Singleton,
    Throttle,
    checked_flow,
    checked_priority,
)
from django_workflow.core.redaction import checked_paths
from django_workflow.core.retry import RetryPolicy, parse_retry_delay
from django_workflow.core.steps import NO_OPTIONS, StepOptions

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
    retry_delay: timedelta | DelayExpression | None = None
    timeout: timedelta | None = None
    version: str | None = None
    detached: bool = False
    redact: tuple[str, ...] = ()
    about: Any = None
    by: Actor = NOBODY
    flow_control: FlowControl | None = None
    priority: int = 0
    debounce: Debounce | None = None
    throttle: Throttle | None = None
    ttl: timedelta | None = None

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
        if given.get("retry_delay") is not None:
            given["retry_delay"] = parse_retry_delay(given["retry_delay"])
        for name in ("delay", "timeout"):
            if given.get(name) is not None:
                given[name] = parse_duration(given[name])
        if given.get("delay") is None:
            given.pop("delay", None)
        if given.get("not_before") is not None:
            given["not_before"] = parse_moment(given["not_before"])
        if given.get("retries") is not None:
            RetryPolicy.of(given["retries"], RetryPolicy())
        given["headers"] = _headers(given.get("headers"))
        given["redact"] = checked_paths(given.get("redact"))
        given["by"] = Actor.of(given.get("by"))
        _check_limits(given)
        return cls(labels=_labels(label), **given)


def _check_limits(given: dict[str, Any]) -> None:
    checked_flow(given.get("flow_control"), where="a trigger")
    checked_priority(given.get("priority", 0))
    for name, wanted in (("debounce", Debounce), ("throttle", Throttle)):
        value = given.get(name)
        if value is not None and not isinstance(value, wanted):
            raise InvalidOptionError(f"{name} is a {wanted.__name__}, not {value!r}.")
    if given.get("debounce") is not None:
        for other in ("throttle", "delay", "not_before", "workflow_run_id"):
            if given.get(other):
                raise InvalidOptionError(
                    f"debounce decides when its run begins, and which it is: it does not go together with {other}."
                )
    if given.get("ttl") is not None:
        given["ttl"] = parse_duration(given["ttl"])
        if not given["ttl"]:
            raise InvalidOptionError("ttl must be longer than zero.")
        if given.get("delay", timedelta(0)) >= given["ttl"]:
            raise InvalidOptionError(
                f"ttl is over before the run may begin: it is {given['ttl']}, and delay {given['delay']}."
            )


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
    schedule: Cron | None = None
    redact: tuple[str, ...] = ()
    flow_control: FlowControl | None = None
    singleton: Singleton | None = None

    def __post_init__(self) -> None:
        if self.name is not None:
            checked_name(self.name)
        checked_version(self.version)
        if self.transport not in TRANSPORTS:
            raise InvalidOptionError(
                f'transport must be "inline" or "http", not {self.transport!r}.'
            )
        checked_flow(self.flow_control, where="a workflow", takes_function=True)
        if self.singleton is not None and not isinstance(self.singleton, Singleton):
            raise InvalidOptionError(f"singleton is a Singleton, not {self.singleton!r}.")
        count = self.steps_per_pass
        if count is not None and (
            isinstance(count, bool) or not isinstance(count, int) or count < 1
        ):
            raise InvalidOptionError(
                f"steps_per_pass must be a whole number of 1 or more, not {count!r}."
            )


def checked_version(version: Any) -> str:
    if not isinstance(version, str) or not version.isprintable() or not 1 <= len(version) <= 50:
        raise InvalidOptionError(
            f"A version is a printable text of 1 to 50 characters, not {version!r}."
        )
    return version


def checked_name(name: Any) -> str:
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


def plan_of(schedule: Cron | str, timezone: Any, **policies: Any) -> Cron:
    """Return the plan that ``schedule=`` and ``timezone=`` mean.

    Raises:
        InvalidOptionError: it cannot work.
    """
    given = {name: value for name, value in policies.items() if value is not None}
    if not isinstance(schedule, Cron):
        return Cron(schedule, timezone, **given)
    if timezone is not None or given:
        raise InvalidOptionError(
            "A Cron holds its time zone and policies already: give them there, and nothing beside it."
        )
    return schedule


def workflow_options(given: dict[str, Any]) -> WorkflowOptions:
    """Build the options of a workflow from what a user wrote.

    Raises:
        InvalidOptionError: an option is unknown or cannot work.
    """
    steps = StepOptions.checked(
        retries=given.pop("retries", None),
        retry_delay=given.pop("retry_delay", None),
        timeout=given.pop("step_timeout", None),
        retry_on=given.pop("retry_on", None),
    )
    if given.get("timeout") is not None:
        given["timeout"] = parse_duration(given["timeout"])
    timezone = given.pop("timezone", None)
    if given.get("schedule") is not None:
        given["schedule"] = plan_of(given["schedule"], timezone)
    elif timezone is not None:
        raise InvalidOptionError("@workflow takes timezone= only beside schedule=.")
    given["redact"] = checked_paths(given.get("redact"))
    known = set(WorkflowOptions.__dataclass_fields__) - {"steps"}
    unknown = sorted(set(given) - known)
    if unknown:
        raise InvalidOptionError(
            f"@workflow has no option {unknown[0]!r}. Known: retries, retry_delay, retry_on, step_timeout, timezone, "
            f"{', '.join(sorted(known))}."
        )
    return WorkflowOptions(steps=steps, **given)
