"""Mistakes that a user makes in steps and between them: each is an error of its run, and says what to do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Any, NoReturn

import pytest
from django.db import transaction
from django.utils.translation import gettext_lazy

from django_workflow import StepError, WorkflowContext, workflow
from django_workflow.core.workflow import registry
from django_workflow.models import Run
from django_workflow.runtime.worker import drain
from django_workflow.testing import WorkflowSandbox
from tests.app.models import Note

pytestmark = pytest.mark.django_db

NAME = "mistakes"


@pytest.fixture(autouse=True)
def box() -> Iterator[WorkflowSandbox]:
    with WorkflowSandbox() as found:
        yield found
    registry.remove(NAME)


def trigger(function: Callable[[Any], Any]) -> Run:
    run: Run = workflow(name=NAME, retries=0, transport="inline")(function).trigger()
    return run


def failure_of(run: Run) -> str:
    assert run.status == "failed"
    assert run.failure is not None
    return run.failure.message


def cancelled() -> NoReturn:
    raise asyncio.CancelledError


def closed() -> NoReturn:
    raise GeneratorExit


async def acancelled() -> None:
    task = asyncio.create_task(asyncio.sleep(5))
    await asyncio.sleep(0)
    task.cancel()
    await task


@pytest.mark.parametrize(
    ("body", "name"),
    [(cancelled, "CancelledError"), (closed, "GeneratorExit"), (acancelled, "CancelledError")],
)
def test_a_body_that_is_cancelled_by_nobody_is_a_failed_attempt(
    body: Callable[[], Any], name: str
) -> None:
    async def awaited(ctx: Any) -> None:
        await ctx.run("body", body)

    for function in (lambda ctx: ctx.run("body", body), awaited):
        run = trigger(function)

        assert failure_of(run).startswith(f'The body of step "body" raised {name}')
        assert run.steps.get().attempts == 1
        registry.remove(NAME)


def test_a_cancelled_item_of_a_map_is_a_failed_attempt() -> None:
    run = trigger(lambda ctx: ctx.map("items", lambda item: cancelled(), [1]))

    assert 'The body of step "items" raised CancelledError' in failure_of(run)


def test_a_cancelled_atomic_body_has_written_nothing() -> None:
    def write() -> None:
        Note.objects.create(text="no")
        cancelled()

    def caught(ctx: WorkflowContext[None]) -> str:
        try:
            ctx.atomic("write", write)
        except StepError:
            return f"{Note.objects.count()} notes"
        return ""

    assert trigger(caught).result == "0 notes"


@pytest.mark.parametrize("leave", [cancelled, closed])
def test_code_between_steps_that_is_cancelled_by_nobody_fails(leave: Callable[[], Any]) -> None:
    async def awaited(ctx: Any) -> None:
        leave()

    for function in (lambda ctx: leave(), awaited, lambda ctx: ctx.parallel(leave, lambda: 1)):
        assert trigger(function).status == "failed"
        registry.remove(NAME)


def test_a_plain_workflow_asks_for_nothing_inside_a_loop_of_its_own() -> None:
    def loops(ctx: WorkflowContext[None]) -> Any:
        async def inside() -> Any:
            return ctx.run("step", int, 4)

        return asyncio.run(inside())

    run = trigger(loops)

    assert "inside an event loop that the workflow runs itself" in failure_of(run)
    assert not run.steps.exists()


@pytest.mark.parametrize("verb", ["parallel", "race"])
def test_async_branches_of_a_plain_workflow_are_refused(verb: str) -> None:
    async def branch() -> int:
        return 1

    run = trigger(lambda ctx: getattr(ctx, verb)(branch, lambda: 2))

    assert f"Branch 0 of ctx.{verb} is async" in failure_of(run)


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        (lambda: Note(text="x"), "Store its pk, and fetch the row in the step that needs it."),
        (Note.objects.all, "Store plain values, as list(queryset.values_list("),
        (lambda: gettext_lazy("Yes"), "Store str(...) of it."),
        (lambda: PurePosixPath("/x"), "Store str(...) of it."),
    ],
)
def test_what_cannot_be_stored_says_what_can(value: Callable[[], Any], advice: str) -> None:
    assert advice in failure_of(trigger(lambda ctx: ctx.run("step", value)))


def opened_around(ctx: WorkflowContext[None]) -> int:
    ctx.run("before", int, 1)
    with transaction.atomic():
        Note.objects.create(text="with the step")
        return ctx.run("step", int, 2)


def decorated(ctx: WorkflowContext[None]) -> None:
    with transaction.atomic():
        ctx.sleep("step", "1d")


def branches(ctx: WorkflowContext[None]) -> None:
    with transaction.atomic():
        ctx.parallel(lambda: ctx.run("step", int, 1), lambda: ctx.run("other", int, 2))


def raced(ctx: WorkflowContext[None]) -> None:
    with transaction.atomic():
        ctx.race(lambda: 1, lambda: 2)


@pytest.mark.parametrize("function", [opened_around, decorated, branches, raced])
def test_a_step_inside_a_transaction_of_the_workflow_is_refused(
    function: Callable[[Any], Any],
) -> None:
    run = trigger(function)

    assert "inside a transaction that the workflow has opened" in failure_of(run)
    assert [step.name for step in run.steps.all()] in ([], ["before"])
    assert not Note.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("function", [opened_around, decorated, branches, raced])
def test_a_worker_refuses_it_as_well(function: Callable[[Any], Any], box: WorkflowSandbox) -> None:
    box.__exit__(None, None, None)
    run = trigger(function)
    drain()

    assert "inside a transaction that the workflow has opened" in failure_of(run.refresh())
    assert not Note.objects.exists()


def test_a_transaction_between_two_steps_is_the_workflows_own_affair() -> None:
    def between(ctx: WorkflowContext[None]) -> int:
        ctx.run("step", int, 1)
        with transaction.atomic():
            Note.objects.get_or_create(text="between")
        return ctx.run("other", int, 2)

    assert trigger(between).result == 2
