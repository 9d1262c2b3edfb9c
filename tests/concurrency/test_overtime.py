"""Bodies that outlast their timeout: fenced at once, followed when they have ended, never heard again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from datetime import timedelta
from typing import Any

import pytest
from django.test import override_settings

from django_workflow import (
    AsyncWorkflowContext,
    StepTimeoutError,
    WorkflowContext,
    current_step,
    workflow,
)
from django_workflow.models import Attempt, Delivery, Step
from django_workflow.runtime.leases import keeper
from django_workflow.runtime.worker import drain
from django_workflow.store import claims
from tests.app.models import Note
from tests.concurrency.together import (
    PATIENCE_SECONDS,
    Gate,
    Threads,
    bodies,
    eventually,
    finished,
)

pytestmark = pytest.mark.django_db(transaction=True)

LIMIT = timedelta(milliseconds=60)


@workflow(name="overtime_one")
def one_step(ctx: WorkflowContext[Any]) -> int:
    return ctx.using(timeout=LIMIT, retry_delay=0).run("slow", bodies, "slow")


@workflow(name="overtime_two")
def in_a_fan_out(ctx: WorkflowContext[Any]) -> list[int]:
    limited = ctx.using(timeout=LIMIT, retry_delay=0)
    return list(
        ctx.parallel(
            lambda: limited.run("slow", bodies, "slow"), lambda: ctx.run("quick", bodies, "quick")
        )
    )


@workflow(name="overtime_overlap")
def overlapping(ctx: WorkflowContext[Any]) -> int:
    return ctx.using(timeout=LIMIT, retry_delay=0, overlap=True).run("slow", bodies, "slow")


@workflow(name="overtime_gives_up")
def gives_up(ctx: WorkflowContext[Any]) -> str:
    try:
        ctx.using(timeout=LIMIT, retries=0).run("slow", bodies, "slow")
    except StepTimeoutError as error:
        ctx.run("after", bodies, "after")
        return error.step
    return "in time"


@workflow(name="overtime_atomic")
def atomic_step(ctx: WorkflowContext[Any]) -> int:
    def body() -> int:
        Note.objects.create(text=f"attempt {current_step().attempt}")
        return bodies("slow")

    return ctx.using(timeout=LIMIT, retry_delay=0).atomic("slow", body)


@workflow(name="overtime_async")
async def async_step(ctx: AsyncWorkflowContext[Any]) -> int:
    async def body() -> int:
        count = bodies("slow")
        await asyncio.sleep(30 if count == 1 else 0)
        return count

    return await ctx.using(timeout=LIMIT, retry_delay=0).run("slow", body)


def outcomes() -> list[str]:
    return list(Attempt.objects.order_by("id").values_list("outcome", flat=True))


def hold_the_first(gate: Gate) -> Callable[[], None]:
    """Hold the first attempt; later ones pass."""

    def hold() -> None:
        if bodies.calls["slow"] == 1:
            gate.hold()

    return hold


def begin(crew: Threads, gate: Gate) -> Future[Any]:
    """Let a worker come to the slow body and outlast its timeout."""
    bodies.during["slow"] = hold_the_first(gate)
    working = crew.start(drain)
    gate.await_arrival()
    eventually(lambda: outcomes() == ["timed_out"])
    return working


@pytest.mark.parametrize("made", [one_step, in_a_fan_out])
def test_next_attempt_waits_for_the_end_of_the_old_body(made: Any, crew: Threads) -> None:
    run = made.trigger()
    gate = Gate()
    working = begin(crew, gate)
    eventually(lambda: Step.objects.get(name="slow").status == "executing")

    drain()

    assert bodies.calls["slow"] == 1
    gate.open()
    working.result(PATIENCE_SECONDS)
    assert finished(run).result in (2, [2, 1])
    assert outcomes() == ["timed_out", "late"]
    assert bodies.calls["slow"] == 2


def test_late_result_is_set_aside(crew: Threads) -> None:
    run = one_step.trigger()
    gate = Gate()
    working = begin(crew, gate)
    gate.open()
    working.result(PATIENCE_SECONDS)
    finished(run)

    timed_out, late = Attempt.objects.order_by("id")
    assert timed_out.failure is not None
    assert timed_out.failure.error_class.endswith("StepTimeoutError")
    assert late.result_text == "1"
    assert Step.objects.get().attempts == 2


def test_late_error_is_set_aside(crew: Threads) -> None:
    run = one_step.trigger()
    gate = Gate()

    def fail_late() -> None:
        if bodies.calls["slow"] == 1:
            gate.hold()
            raise ValueError("too late")

    bodies.during["slow"] = fail_late
    working = crew.start(drain)
    eventually(lambda: outcomes() == ["timed_out"])
    gate.open()
    working.result(PATIENCE_SECONDS)
    finished(run)

    late = Attempt.objects.get(outcome="late")
    assert late.failure is not None
    assert late.failure.message == "too late"


def test_lease_goes_on_while_the_old_body_is_at_work(crew: Threads) -> None:
    run = one_step.trigger()
    gate = Gate()
    with override_settings(WORKFLOW={"LEASE": 0.2}):
        working = begin(crew, gate)
        eventually(lambda: Step.objects.get().status == "executing")
        first = Delivery.objects.get().due_at
        eventually(lambda: Delivery.objects.get().due_at > first)
        token = Delivery.objects.get().token
        drain()
        gate.open()
        working.result(PATIENCE_SECONDS)

    assert token == 2
    finished(run)
    assert bodies.calls["slow"] == 2


def test_next_attempt_begins_when_the_old_ones_process_is_gone(crew: Threads) -> None:
    run = one_step.trigger()
    gate = Gate()
    working = begin(crew, gate)
    eventually(lambda: Step.objects.get().status == "executing")
    # As a dead process does, it renews nothing any more; what was on its way to the database may still arrive.
    keeper.let_all_go()
    eventually(lambda: _taken_over(run))

    assert finished(run).result == 2
    gate.open()
    working.result(PATIENCE_SECONDS)
    assert run.refresh().result == 2
    assert outcomes() == ["timed_out", "late"]


def _taken_over(run: Any) -> bool:
    Delivery.objects.exclude(leased_by="").update(due_at=claims.now())
    drain()
    return bool(run.refresh().is_finished)


def test_overlapping_attempt_does_not_wait(crew: Threads) -> None:
    run = overlapping.trigger()
    gate = Gate()
    working = begin(crew, gate)
    eventually(lambda: Delivery.objects.get().leased_by == "")

    assert finished(run).result == 2
    gate.open()
    working.result(PATIENCE_SECONDS)
    assert outcomes() == ["timed_out", "late"]


def test_run_goes_on_without_a_body_that_used_up_its_attempts(crew: Threads) -> None:
    run = gives_up.trigger()
    gate = Gate()
    working = begin(crew, gate)
    eventually(lambda: Delivery.objects.get().leased_by == "")

    assert finished(run).result == "slow"
    gate.open()
    working.result(PATIENCE_SECONDS)
    assert run.refresh().result == "slow"
    assert bodies.calls == {"slow": 1, "after": 1}
    assert outcomes() == ["timed_out", "late"]


def test_body_that_ends_in_time_leaves_no_watch_behind(crew: Threads) -> None:
    assert finished(one_step.trigger()).result == 1
    assert not keeper.is_holding()
    assert outcomes() == []


@pytest.mark.pg_only
def test_atomic_step_that_timed_out_takes_its_writes_back(crew: Threads) -> None:
    run = atomic_step.trigger()
    gate = Gate()
    working = begin(crew, gate)
    eventually(lambda: Step.objects.get().status == "executing")
    gate.open()
    working.result(PATIENCE_SECONDS)

    assert finished(run).result == 2
    assert [note.text for note in Note.objects.all()] == ["attempt 2"]
    assert outcomes() == ["timed_out", "late"]
    assert not keeper.is_holding()


@pytest.mark.sqlite_only
def test_atomic_step_that_took_too_long_takes_its_writes_back(crew: Threads) -> None:
    run = atomic_step.trigger()
    bodies.during["slow"] = lambda: eventually(outlasts(bodies.calls["slow"]))

    assert finished(run).result == 2
    assert [note.text for note in Note.objects.all()] == ["attempt 2"]
    assert outcomes() == ["timed_out"]


def outlasts(count: int) -> Callable[[], bool]:
    """Hold on until the first attempt is beyond its time."""
    step = current_step()
    assert step.deadline is not None
    limit = step.deadline + LIMIT
    return lambda: count > 1 or claims.now() > limit


@pytest.mark.pg_only
def test_error_of_an_atomic_step_after_its_timeout_is_set_aside(crew: Threads) -> None:
    run = atomic_step.trigger()
    gate = Gate()

    def fail_late() -> None:
        if bodies.calls["slow"] == 1:
            gate.hold()
            raise ValueError("too late")

    bodies.during["slow"] = fail_late
    working = crew.start(drain)
    eventually(lambda: outcomes() == ["timed_out"])
    gate.open()
    working.result(PATIENCE_SECONDS)

    assert finished(run).result == 2
    assert Note.objects.count() == 1
    assert outcomes() == ["timed_out", "late"]


def test_async_body_is_cancelled_and_leaves_nothing_behind() -> None:
    run = async_step.trigger()

    assert finished(run).result == 2
    assert outcomes() == ["timed_out"]
    assert not keeper.is_holding()


def test_run_cancelled_while_a_body_is_overtime_stays_cancelled(crew: Threads) -> None:
    run = one_step.trigger()
    gate = Gate()
    working = begin(crew, gate)

    run.cancel()
    gate.open()
    working.result(PATIENCE_SECONDS)
    drain()

    assert run.refresh().status == "cancelled"
    assert not Delivery.objects.exists()
    assert bodies.calls["slow"] == 1
    assert not keeper.is_holding()
