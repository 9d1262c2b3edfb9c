from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from inspect import signature
from types import SimpleNamespace
from typing import Any, assert_type

import pytest
from asgiref.sync import iscoroutinefunction

from django_workflow.core import ports
from django_workflow.core.anywhere import acancel_runs, aget_run, cancel_runs, get_run
from django_workflow.core.context_async import AsyncWorkflowContext
from django_workflow.core.context_sync import WorkflowContext
from django_workflow.core.exceptions import (
    InvalidOptionError,
    NotReadyError,
    WorkflowNotFoundError,
)
from django_workflow.core.options import TriggerOptions, WorkflowOptions
from django_workflow.core.retry import RetryPolicy
from django_workflow.core.steps import StepOptions
from django_workflow.core.types import Failure
from django_workflow.core.workflow import Registry, Workflow, registry, workflow


class Runtime:
    """A runtime that answers with what it was asked for."""

    def __getattr__(self, verb: str) -> Any:
        return lambda *args, **kwargs: (verb, args, kwargs)

    async def in_thread(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        return "in a thread", function(*args, **kwargs)


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    """Take the workflows of a test out of the registry again."""
    before = set(registry)
    yield
    for made in set(registry) - before:
        registry.remove(made.name)
    del registry.clashes[:]


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Runtime:
    """Plug in a runtime that answers with what it was asked for."""
    monkeypatch.setattr(ports, "_slots", ports._Slots())
    runtime = Runtime()
    ports.install_runtime(runtime)
    return runtime


def plain(name: str = "core_plain", **options: Any) -> Workflow[Any, Any]:
    @workflow(name=name, **options)
    def made(ctx: WorkflowContext[Any]) -> None:
        """Do nothing."""

    return made


def awaited(name: str = "core_awaited") -> Workflow[Any, Any]:
    @workflow(name=name)
    async def made(ctx: AsyncWorkflowContext[Any]) -> None:
        """Do nothing."""

    return made


# The decorator.


def test_workflow_is_named_as_its_function() -> None:
    @workflow
    def core_fulfil(ctx: WorkflowContext[Any]) -> str:
        """Send what was ordered."""
        return "sent"

    assert (core_fulfil.name, repr(core_fulfil)) == ("core_fulfil", "<Workflow core_fulfil>")
    assert core_fulfil.__doc__ == "Send what was ordered."
    assert list(signature(core_fulfil).parameters) == ["ctx"]
    assert registry.get("core_fulfil") is core_fulfil


def test_options_are_kept_checked() -> None:
    made = plain(
        retries=2,
        retry_delay="10s",
        step_timeout="1m",
        timeout="2h",
        transport="http",
        steps_per_pass=3,
        strict_arguments=True,
        version="2024-01",
    )

    assert made.options == WorkflowOptions(
        name="core_plain",
        steps=StepOptions(
            retries=2, retry_delay=timedelta(seconds=10), timeout=timedelta(minutes=1)
        ),
        timeout=timedelta(hours=2),
        transport="http",
        steps_per_pass=3,
        strict_arguments=True,
        version="2024-01",
    )


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"retires": 3}, "@workflow has no option 'retires'. Known: retries"),
        ({"steps": 3}, "@workflow has no option 'steps'"),
        ({"retries": -1}, "retries must be"),
        ({"timeout": "later"}, "is not a duration"),
        ({"step_timeout": 0}, "timeout must be longer than zero"),
        ({"transport": "pigeon"}, 'transport must be "inline" or "http"'),
        ({"steps_per_pass": 0}, "steps_per_pass must be a whole number"),
        ({"steps_per_pass": True}, "steps_per_pass must be a whole number"),
        ({"version": ""}, "A version is a printable text"),
        ({"name": ""}, "A workflow's name is a printable text"),
        ({"name": " "}, "A workflow's name is a printable text"),
        ({"name": "a/b"}, "A workflow's name is a printable text"),
        ({"name": "x" * 201}, "A workflow's name is a printable text"),
        ({"name": 3}, "A workflow's name is a printable text"),
    ],
)
def test_option_that_cannot_work_is_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidOptionError) as refusal:
        workflow(**options)

    assert complaint in str(refusal.value)


@pytest.mark.parametrize("function", [lambda ctx: None, partial(print)], ids=["lambda", "partial"])
def test_function_without_a_name_needs_one(function: Any) -> None:
    with pytest.raises(InvalidOptionError, match=r"@workflow\(name="):
        workflow(function)

    assert workflow(name="core_named")(function).name == "core_named"


def test_only_a_function_can_be_a_workflow() -> None:
    with pytest.raises(InvalidOptionError, match="decorates a function, not 3"):
        workflow(name="core_three")(3)  # type: ignore[call-overload]


def test_colour_of_the_function_is_the_workflow_s() -> None:
    assert not plain().is_async
    assert not iscoroutinefunction(plain())
    assert awaited().is_async
    assert iscoroutinefunction(awaited())


# Versions and the failure handler.


def test_new_runs_get_the_version_registered_last() -> None:
    made = plain()

    @made.version("2")
    def second(ctx: WorkflowContext[Any]) -> None:
        """Do nothing else."""

    assert list(made.versions) == ["1", "2"]
    assert made.versions["2"] is second
    assert made.latest_version == "2"


@pytest.mark.parametrize("name", ["", 2, None, "x" * 51, "a\n"])
def test_version_is_a_short_text(name: Any) -> None:
    with pytest.raises(InvalidOptionError, match="A version is a printable text"):
        plain().version(name)(print)


def test_version_is_registered_once() -> None:
    with pytest.raises(InvalidOptionError, match='"core_plain" has a version "1" already'):
        plain().version("1")(print)


def test_failure_handler_is_registered_once() -> None:
    made = plain()

    @made.on_failure
    def refund(ctx: WorkflowContext[Any], failure: Failure) -> None:
        """Pay back."""

    assert made.failure_handler is refund
    with pytest.raises(InvalidOptionError, match="has a failure handler already"):
        made.on_failure(refund)


async def other_colour(*_: Any) -> None:
    """Do nothing, later."""


def test_versions_and_handler_have_the_colour_of_the_workflow() -> None:
    with pytest.raises(InvalidOptionError, match='is a plain function; its version "2"'):
        plain().version("2")(other_colour)
    with pytest.raises(InvalidOptionError, match='is async; its failure handler "print"'):
        awaited().on_failure(print)


# The view.


def test_workflow_is_a_view_that_no_middleware_stops() -> None:
    made = plain()

    assert made.csrf_exempt
    assert not made.login_required
    assert "any alias" in made._non_atomic_requests


def test_request_goes_through_the_door(runtime: Runtime) -> None:
    ports.install_door(lambda of, request: (of, request))
    made, request = plain(), SimpleNamespace(method="POST")

    assert made(request, pk=3) == (made, request)


# The registry.


def test_unknown_workflow_is_named_with_the_known_ones() -> None:
    known = Registry()
    known.add(plain())

    with pytest.raises(WorkflowNotFoundError) as refusal:
        known.get("other")

    assert refusal.value.name == "other"
    assert 'No workflow "other" is registered' in str(refusal.value)
    assert "Known: core_plain." in str(refusal.value)
    assert known.find("other") is None


def test_empty_registry_says_so() -> None:
    with pytest.raises(WorkflowNotFoundError, match="Known: none"):
        Registry().get("other")


def test_two_of_one_name_clash() -> None:
    known = Registry()
    first, second = plain("core_twin"), awaited("core_twin")

    known.add(first)
    known.add(second)

    assert [clash[0] for clash in known.clashes] == ["core_twin"]
    assert known.get("core_twin") is second


def test_module_that_is_loaded_again_clashes_with_nothing() -> None:
    known = Registry()

    known.add(plain())
    known.add(plain())

    assert known.clashes == []


def test_registry_is_walked_by_name() -> None:
    known = Registry()
    known.add(plain("core_b"))
    known.add(plain("core_a"))

    assert [made.name for made in known] == ["core_a", "core_b"]
    known.remove("core_a")
    known.remove("core_a")
    assert [made.name for made in known] == ["core_b"]


# Verbs, all of them the runtime's.


def test_verbs_need_django_to_be_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_slots", ports._Slots())

    with pytest.raises(NotReadyError):
        plain().trigger()


def test_trigger_hands_checked_options_to_the_runtime(runtime: Runtime) -> None:
    made = plain()

    answer = made.trigger({"order": 1}, workflow_run_id="order-1", delay="10s")

    options = TriggerOptions(workflow_run_id="order-1", delay=timedelta(seconds=10))
    assert answer == ("trigger", (made, {"order": 1}, options), {})
    assert made.trigger(payload=3) == ("trigger", (made, 3, TriggerOptions()), {})


def test_trigger_many_hands_ids_and_payloads_to_the_runtime(runtime: Runtime) -> None:
    made = plain()

    answer: Any = made.trigger_many(iter([1, 2]), workflow_run_ids=["a", "b"], label="vip")

    options = TriggerOptions(labels=("vip",))
    assert answer == ("trigger_many", (made, [1, 2], options, ["a", "b"]), {})


def test_awaited_verbs_are_the_plain_ones_in_a_thread(runtime: Runtime) -> None:
    made = plain()

    async def ask() -> list[Any]:
        return [
            await made.atrigger(1, label="vip"),
            await made.atrigger_many([1, 2]),
            await aget_run("order-1"),
            await acancel_runs("a", "b"),
        ]

    assert asyncio.run(ask()) == [
        ("in a thread", made.trigger(1, label="vip")),
        ("in a thread", made.trigger_many([1, 2])),
        ("in a thread", get_run("order-1")),
        ("in a thread", cancel_runs("a", "b")),
    ]


def test_runs_are_found_and_cancelled_by_the_runtime(runtime: Runtime) -> None:
    filters = {"label": "vip", "workflow": None, "everything": False, "actor": None, "why": ""}

    cancelled: Any = cancel_runs("a", label="vip")

    assert get_run("order-1") == ("get_run", ("order-1",), {})
    assert cancelled == ("cancel_runs", (("a",),), filters)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, TriggerOptions()),
        ({"delay": None, "headers": None, "label": None}, TriggerOptions()),
        ({"label": "vip"}, TriggerOptions(labels=("vip",))),
        ({"label": ["vip", "eu", "vip"]}, TriggerOptions(labels=("eu", "vip"))),
        ({"headers": {"X-A": "1"}}, TriggerOptions(headers={"X-A": "1"})),
        (
            {"not_before": "2030-01-02"},
            TriggerOptions(not_before=datetime(2030, 1, 2, tzinfo=UTC)),
        ),
        (
            {"retries": RetryPolicy(max_retries=1), "retry_delay": 5, "timeout": "1h"},
            TriggerOptions(
                retries=RetryPolicy(max_retries=1),
                retry_delay=timedelta(seconds=5),
                timeout=timedelta(hours=1),
            ),
        ),
        ({"workflow_run_id": "x" * 128}, TriggerOptions(workflow_run_id="x" * 128)),
        ({"version": "2", "detached": True}, TriggerOptions(version="2", detached=True)),
    ],
)
def test_trigger_options_are_parsed(given: dict[str, Any], expected: TriggerOptions) -> None:
    assert TriggerOptions.checked(**given) == expected


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"labels": ["vip"]}, "trigger() has no option 'labels'. Known: about, by, debounce"),
        ({"workflow_run_id": ""}, "workflow_run_id must be a printable text"),
        ({"workflow_run_id": "a\nb"}, "workflow_run_id must be a printable text"),
        ({"workflow_run_id": "x" * 129}, "workflow_run_id must be a printable text"),
        ({"workflow_run_id": 7}, "workflow_run_id must be a printable text"),
        ({"delay": "soon"}, "is not a duration"),
        ({"not_before": "soon"}, "is not a moment"),
        ({"retries": "many"}, "retries must be"),
        ({"label": ""}, "A label must be a printable text"),
        ({"label": 5}, "A label must be a printable text"),
        ({"label": ["vip", None]}, "A label must be a printable text"),
        ({"label": "a\x00"}, "A label must be a printable text"),
        ({"label": "x" * 101}, "A label must be a printable text"),
        ({"headers": {"X-A": 1}}, "headers must be texts by text"),
        ({"headers": "X-A: 1"}, "headers must be texts by text"),
    ],
)
def test_trigger_option_that_cannot_work_is_refused(given: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidOptionError) as refusal:
        TriggerOptions.checked(**given)

    assert complaint in str(refusal.value)


def takes_nothing() -> None: ...
def takes_two(ctx: Any, other: Any) -> None: ...
def takes_more(ctx: Any, other: Any = 1, *, third: Any = 2) -> None: ...
def takes_by_name(ctx: Any, *, other: Any) -> None: ...
def yields(ctx: Any) -> Iterator[int]:
    yield 1


async def yields_async(ctx: Any) -> Any:
    yield 1


class Methods:
    """Its methods are functions of two arguments, until they are bound."""

    def carry(self, ctx: Any) -> None: ...


@pytest.mark.parametrize(
    ("function", "complaint"),
    [
        (takes_nothing, "is called with ctx alone, which \"takes_nothing\" does not take: too many"),
        (takes_two, "missing a required argument: 'other'"),
        (takes_by_name, "argument: 'other'"),
        (Methods.carry, "\"Methods.carry\" does not take"),
        (Methods, "is a function, not the class Methods"),
        (yields, "is a generator: \"yields\" holds a yield"),
        (yields_async, "is a generator"),
    ],
)  # fmt: skip
def test_function_that_could_never_be_entered_is_refused(function: Any, complaint: str) -> None:
    with pytest.raises(InvalidOptionError) as refusal:
        workflow(name="core_never")(function)
    with pytest.raises(InvalidOptionError) as refusal_of_version:
        plain("core_versions").version("2")(function)

    assert complaint in str(refusal.value)
    assert complaint in str(refusal_of_version.value)
    assert registry.find("core_never") is None


@pytest.mark.parametrize("function", [takes_more, Methods().carry, partial(takes_two, other=1)])
def test_function_that_takes_a_context_is_a_workflow(function: Any) -> None:
    assert workflow(name="core_takes")(function).name == "core_takes"


def test_version_without_its_name_is_refused() -> None:
    made: Any = plain()

    with pytest.raises(InvalidOptionError, match="A version is a printable text"):

        @made.version
        def made_2(ctx: WorkflowContext[Any]) -> None: ...

    assert list(made.versions) == ["1"]


def test_failure_handler_takes_a_context_and_a_failure() -> None:
    made = plain()

    with pytest.raises(InvalidOptionError, match='is called with ctx and failure alone, which "takes_nothing"'):  # fmt: skip
        made.on_failure(takes_nothing)

    assert made.on_failure(takes_two) is takes_two


@pytest.mark.parametrize("given", [(), ({"order_id": 1},), (None,)])
def test_workflow_that_is_called_as_a_function_names_what_is_meant(given: tuple[Any, ...]) -> None:
    with pytest.raises(InvalidOptionError, match=r"is not called. Start a run with .trigger\(payload\)"):  # fmt: skip
        plain()(*given)


def typed() -> None:
    """Hold what mypy makes of the decorator; never called."""

    @workflow
    def bare(ctx: WorkflowContext[dict[str, int]]) -> str:
        return ""

    @workflow(retries=3)
    def with_options(ctx: WorkflowContext[dict[str, int]]) -> str:
        return ""

    @workflow
    async def bare_async(ctx: AsyncWorkflowContext[int]) -> str:
        return ""

    @workflow(name="typed")
    async def with_options_async(ctx: AsyncWorkflowContext[int]) -> str:
        return ""

    assert_type(bare, Workflow[dict[str, int], str])
    assert_type(with_options, Workflow[dict[str, int], str])
    assert_type(bare_async, Workflow[int, str])
    assert_type(with_options_async, Workflow[int, str])
