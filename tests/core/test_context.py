from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from threading import Thread
from typing import Any, assert_type
from uuid import UUID

import pytest

from django_workflow.core.arguments import check_branches
from django_workflow.core.context import CurrentStep, RunFacts, current_step, executing
from django_workflow.core.context_async import AsyncWorkflowContext
from django_workflow.core.context_sync import WorkflowContext
from django_workflow.core.exceptions import InvalidOptionError, MisplacedStepError, StepError
from django_workflow.core.replay import Completed
from django_workflow.core.steps import (
    NO_OPTIONS,
    AtomicStep,
    RunStep,
    SleepStep,
    SleepUntilStep,
    StepOptions,
)
from tests.core.fakes import MemoryRun
from tests.core.outcomes import Ctx, error_of, one

FACTS = RunFacts(
    workflow_run_id="run-1",
    workflow_run_created_at=datetime(2030, 1, 1, tzinfo=UTC),
    request_payload={"order": 42},
    headers={"X-Tenant": "a"},
    url="https://example.org/workflows/fulfil/",
    labels=("eu", "vip"),
    version="2",
)


class Asked:
    """A pass that keeps what it was asked for."""

    facts = FACTS
    retried = 3

    def __init__(self) -> None:
        self.for_: list[tuple[Any, ...]] = []

    def meet(self, *asked: Any) -> str:
        self.for_.append(asked)
        return "value"


class AskedLater(Asked):
    """The same, awaited."""

    async def meet(self, *asked: Any) -> str:  # type: ignore[override]
        return super().meet(*asked)


def charge(amount: int, *, currency: str = "EUR") -> str:
    return f"{amount} {currency}"


VERBS: list[tuple[Callable[[Any], Any], tuple[Any, ...]]] = [
    (
        lambda ctx: ctx.run("a", charge, 3, currency="CHF"),
        (RunStep, "a", NO_OPTIONS, (charge, (3,), {"currency": "CHF"})),
    ),
    (lambda ctx: ctx.atomic("a", charge, 3), (AtomicStep, "a", NO_OPTIONS, (charge, (3,), {}))),
    (lambda ctx: ctx.sleep("a", "1h"), (SleepStep, "a", NO_OPTIONS, (timedelta(hours=1),))),
    (
        lambda ctx: ctx.sleep_until("a", "2030-01-02"),
        (SleepUntilStep, "a", NO_OPTIONS, (datetime(2030, 1, 2, tzinfo=UTC),)),
    ),
    (
        lambda ctx: ctx.using(retries=0).using(timeout="5s").sleep("a", 1),
        (
            SleepStep,
            "a",
            StepOptions(retries=0, timeout=timedelta(seconds=5)),
            (timedelta(seconds=1),),
        ),
    ),
]
VERB_NAMES = ["run", "atomic", "sleep", "sleep_until", "using"]


@pytest.mark.parametrize(("verb", "step"), VERBS, ids=VERB_NAMES)
def test_verb_names_a_step(verb: Callable[[Any], Any], step: tuple[Any, ...]) -> None:
    asked = Asked()

    verb(WorkflowContext(asked))  # type: ignore[arg-type]

    assert asked.for_ == [step]


@pytest.mark.parametrize(("verb", "step"), VERBS, ids=VERB_NAMES)
def test_awaited_verb_names_the_same_step(
    verb: Callable[[Any], Any], step: tuple[Any, ...]
) -> None:
    asked = AskedLater()

    asyncio.run(verb(AsyncWorkflowContext(asked)))  # type: ignore[arg-type]

    assert asked.for_ == [step]


@pytest.mark.parametrize(
    "verb",
    [
        lambda ctx: ctx.sleep("a", "soon"),
        lambda ctx: ctx.sleep_until("a", datetime(2030, 1, 1)),  # noqa: DTZ001 - what is refused
        lambda ctx: ctx.using(retires=3),
    ],
)
def test_argument_that_cannot_work_is_refused_where_it_is_given(
    verb: Callable[[Any], Any],
) -> None:
    asked = Asked()

    with pytest.raises(InvalidOptionError):
        verb(WorkflowContext(asked))  # type: ignore[arg-type]

    assert asked.for_ == []


@pytest.mark.parametrize("context", [WorkflowContext, AsyncWorkflowContext])
def test_context_tells_of_its_run(context: Any) -> None:
    ctx = context(Asked()).using(retries=1)

    told = {name: getattr(ctx, name) for name in RunFacts.__dataclass_fields__}

    assert RunFacts(**told) == FACTS
    assert ctx.retried == 3


def test_current_step_is_known_in_a_body_alone() -> None:
    step = CurrentStep(name="a", attempt=1, idempotency_key="k", workflow_run_id="run-1")
    token = executing.set(step)

    assert current_step() is step
    executing.reset(token)
    with pytest.raises(MisplacedStepError, match="outside a step's body"):
        current_step()


def test_body_knows_its_step() -> None:
    def body() -> list[Any]:
        step = current_step()
        return [step.name, step.attempt, step.workflow_run_id]

    assert MemoryRun(lambda ctx: ctx.run("a", body)).turn() == Completed(["a", 1, "run-1"])


# Branches.


class Shop:
    def __init__(self, items: list[str]) -> None:
        self.items = items

    def sell(self) -> list[str]:
        return self.items


def made_in_a_function(item: str) -> Callable[[], str]:
    return lambda: item


def loop_over_one_variable() -> list[Callable[[], str]]:
    return [lambda: item for item in "ab"]  # noqa: B023 - what is refused


def loop_that_binds_its_variable() -> list[Callable[[], str]]:
    return [lambda item=item: item for item in "ab"]  # type: ignore[misc]


def loop_that_binds_it_by_name() -> list[Callable[[], str]]:
    return [lambda *, item=item: item for item in "ab"]  # type: ignore[misc]


@pytest.mark.parametrize(
    "branches",
    [
        (),
        (one, one),
        (lambda: 1, lambda: 2),
        (Shop(["a"]).sell, Shop(["b"]).sell),
        (partial(one), partial(one)),
        (made_in_a_function("a"), made_in_a_function("b")),
        loop_that_binds_its_variable(),
        loop_that_binds_it_by_name(),
    ],
)
def test_branches_that_can_be_told_apart_are_taken(branches: Any) -> None:
    check_branches(tuple(branches))


def test_functions_made_by_a_loop_over_one_variable_are_refused() -> None:
    with pytest.raises(InvalidOptionError, match=r"Branches 0 and 1 .* the last value"):
        check_branches(tuple(loop_over_one_variable()))


def test_awaitable_is_a_branch_of_async_code_alone() -> None:
    async def workflow() -> None:
        future = asyncio.get_running_loop().create_future()
        check_branches((future,), may_be_awaitable=True)
        with pytest.raises(InvalidOptionError, match="Branch 0 of"):
            check_branches((future,))

    asyncio.run(workflow())


# Types.


def typed(ctx: WorkflowContext[dict[str, int]]) -> None:
    """Hold what mypy makes of the sync verbs; never called."""
    assert_type(ctx.request_payload, dict[str, int])
    assert_type(ctx.run("a", charge, 3, currency="CHF"), str)
    assert_type(ctx.atomic("a", len, "text"), int)
    assert_type(ctx.parallel(lambda: 1, lambda: "a"), tuple[int, str])
    assert_type(ctx.parallel(lambda: 1, lambda: "a", lambda: 1.5), tuple[int, str, float])
    assert_type(ctx.parallel(*[lambda: 1]), tuple[int, ...])
    assert_type(ctx.parallel(lambda: 1, return_errors=True), tuple[Any, ...])
    assert_type(ctx.using(retries=0), WorkflowContext[dict[str, int]])
    assert_type(ctx.now(), datetime)
    assert_type(ctx.uuid(), UUID)
    assert_type(ctx.random(), float)


async def typed_async(ctx: AsyncWorkflowContext[dict[str, int]]) -> None:
    """Hold what mypy makes of the async verbs; never called."""

    async def length(text: str) -> int:
        return len(text)

    assert_type(ctx.request_payload, dict[str, int])
    assert_type(await ctx.run("a", charge, 3, currency="CHF"), str)
    assert_type(await ctx.run("a", length, "text"), int)
    assert_type(await ctx.atomic("a", len, "text"), int)
    assert_type(await ctx.parallel(length("a"), ctx.run("a", charge, 3)), tuple[int, str])
    assert_type(await asyncio.gather(length("a"), ctx.run("a", charge, 3)), tuple[int, str])
    assert_type(await ctx.parallel(*[length("a")]), tuple[int, ...])
    assert_type(await ctx.parallel(length("a"), return_errors=True), tuple[Any, ...])
    assert_type(ctx.using(retries=0), AsyncWorkflowContext[dict[str, int]])
    assert_type(await ctx.now(), datetime)


# Where verbs may stand.


MISPLACED = [
    lambda ctx: ctx.run("inner", one),
    lambda ctx: ctx.sleep("inner", 1),
    lambda ctx: ctx.parallel(),
    lambda ctx: ctx.patched("inner"),
    lambda ctx: ctx.uuid(),
    lambda ctx: ctx.random(),
    lambda ctx: ctx.cancel(),
]


@pytest.mark.parametrize("verb", MISPLACED)
def test_steps_do_not_nest(verb: Callable[[Ctx], Any]) -> None:
    outcome = MemoryRun(lambda ctx: ctx.run("outer", lambda: verb(ctx))).turn()

    error = error_of(outcome)
    assert isinstance(error, StepError)
    assert error.failure.error_class == "django_workflow.core.exceptions.MisplacedStepError"
    assert 'inside the body of step "outer" (run run-1)' in error.failure.message


@pytest.mark.parametrize("verb", MISPLACED)
def test_verb_is_refused_when_its_pass_has_ended(verb: Callable[[Ctx], Any]) -> None:
    kept: list[Ctx] = []
    MemoryRun(kept.append).turn()

    with pytest.raises(MisplacedStepError, match="outside the pass"):
        verb(kept[0])


@pytest.mark.parametrize("verb", MISPLACED)
def test_verb_is_refused_in_another_thread(verb: Callable[[Ctx], Any]) -> None:
    errors: list[BaseException] = []

    def elsewhere(ctx: Ctx) -> None:
        try:
            verb(ctx)
        except MisplacedStepError as error:
            errors.append(error)

    def workflow(ctx: Ctx) -> None:
        thread = Thread(target=elsewhere, args=[ctx])
        thread.start()
        thread.join()

    run = MemoryRun(workflow)

    assert run.turn() == Completed(None)
    assert "in its own thread" in str(errors[0])
    assert run.stored == {}


def test_body_that_cannot_be_called_is_refused_at_once() -> None:
    outcome = MemoryRun(lambda ctx: ctx.run("a", one())).turn()

    assert isinstance(error_of(outcome), InvalidOptionError)
    assert "Give the function and its arguments apart" in str(error_of(outcome))
