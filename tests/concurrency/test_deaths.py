"""Holders that die or stall: who takes over, what is charged to whom, and when a person has to look."""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import Event
from typing import Any

import pytest
from django.db import OperationalError
from django.test import override_settings

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from django_workflow.models import Attempt, Delivery, Run
from django_workflow.runtime import leases
from django_workflow.runtime.leases import keeper
from django_workflow.runtime.trouble import DeliveryTroubleError
from django_workflow.runtime.worker import carry, drain, stopping
from django_workflow.store import claims
from django_workflow.store.rows import Claim
from tests.concurrency.together import (
    PATIENCE_SECONDS,
    Threads,
    bodies,
    eventually,
    expire_leases,
    finished,
    held_in,
)

pytestmark = pytest.mark.django_db(transaction=True)


class Death(BaseException):
    """The process is gone: nobody catches this."""


def die() -> None:
    raise Death


@workflow(name="deaths_two_steps")
def two_steps(ctx: WorkflowContext[Any]) -> list[int]:
    return [ctx.run("a", bodies, "a"), ctx.run("b", bodies, "b")]


@workflow(name="deaths_async")
async def async_steps(ctx: AsyncWorkflowContext[Any]) -> list[int]:
    return [await ctx.run("a", bodies, "a"), await ctx.run("b", bodies, "b")]


@workflow(name="deaths_fan_out")
def fan_out(ctx: WorkflowContext[Any]) -> list[int]:
    return list(ctx.parallel(lambda: ctx.run("a", bodies, "a"), lambda: ctx.run("b", bodies, "b")))


@workflow(name="deaths_code")
def in_the_code(ctx: WorkflowContext[Any]) -> int:
    done = ctx.run("a", bodies, "a")
    bodies("code")
    return done


def die_once_more(run: Any) -> None:
    """Let a worker take the run and die in it, and its lease be over."""
    with pytest.raises(Death):
        drain()
    expire_leases(run.id)


@pytest.mark.parametrize("made", [two_steps, async_steps])
def test_run_goes_on_after_a_death_in_a_body(made: Any) -> None:
    run = made.trigger()
    bodies.during["b"] = die
    die_once_more(run)
    bodies.during.clear()

    assert finished(run).result == [1, 2]
    assert bodies.calls == {"a": 1, "b": 2}


@pytest.mark.parametrize(("made", "key"), [(two_steps, "b"), (fan_out, "p1.1/b")])
def test_three_deaths_in_a_row_block_the_run(made: Any, key: str) -> None:
    run = made.trigger()
    bodies.during["b"] = die
    # The first one is not seen: from the second try on it is written that user code begins.
    for_each_of(4, lambda: die_once_more(run))

    drain()

    run.refresh()
    assert run.status == "blocked"
    assert run.failure.error_class.endswith("CrashLoopError")
    assert f'3 times in a row in step "{key}"' in run.failure.message
    assert bodies.calls["b"] == 4
    assert [attempt.outcome for attempt in Attempt.objects.all()] == ["died"] * 3
    assert not Run.objects.stuck().exists()


def for_each_of(count: int, act: Callable[[], None]) -> None:
    """Do something so often."""
    for _ in range(count):
        act()


def test_blocked_run_goes_on_when_a_person_resumes_it() -> None:
    run = fan_out.trigger()
    bodies.during["b"] = die
    for_each_of(4, lambda: die_once_more(run))
    drain()
    bodies.during.clear()

    run.refresh().resume()

    assert finished(run).result == [1, 5]


def test_deaths_in_the_code_between_steps_are_charged_to_it() -> None:
    run = in_the_code.trigger()
    bodies.during["code"] = die
    for_each_of(4, lambda: die_once_more(run))
    drain()

    run.refresh()
    assert run.status == "blocked"
    assert "in the code between steps" in run.failure.message


def test_record_ends_the_row_of_deaths() -> None:
    run = two_steps.trigger()
    bodies.during["a"] = die
    for_each_of(3, lambda: die_once_more(run))
    bodies.during["a"] = lambda: None
    bodies.during["b"] = die
    for_each_of(2, lambda: die_once_more(run))
    bodies.during.clear()

    assert finished(run).result == [4, 3]


class TroubledTransport:
    """Carries nothing through."""

    name = "inline"

    def __init__(self, error: Exception) -> None:
        self.error = error

    def deliver(self, claim: Claim) -> None:
        raise self.error


@pytest.mark.parametrize(
    "error",
    [
        DeliveryTroubleError("nobody there"),
        OperationalError("away"),
        RuntimeError("a fault of the transport"),
    ],
)
def test_trouble_of_a_delivery_is_repeated_without_end_and_blocks_nothing(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = two_steps.trigger()
    with monkeypatch.context() as patch:
        patch.setattr(
            "django_workflow.core.ports._slots.transports", {"inline": TroubledTransport(error)}
        )
        for_each_of(6, lambda: carry_next(run))

    assert str(error) in run.refresh().reason
    Delivery.objects.update(due_at=claims.now())
    assert finished(run).result == [1, 1]
    assert not Attempt.objects.exists()


def carry_next(run: Any) -> None:
    Delivery.objects.filter(run_id=run.id).update(due_at=claims.now())
    [claim] = claims.claim("worker", 1)
    carry(claim, "worker")


def test_heartbeat_keeps_the_lease_of_a_long_body(crew: Threads) -> None:
    run = two_steps.trigger()
    with override_settings(WORKFLOW={"LEASE": 0.2}):
        gate, working = held_in(crew, "a")
        seen = {Delivery.objects.get().due_at}
        eventually(lambda: not seen.add(Delivery.objects.get().due_at) and len(seen) > 4)
        drain()
        assert (bodies.calls["a"], Delivery.objects.get().token) == (1, 1)
        gate.open()
        working.result(PATIENCE_SECONDS)

    assert finished(run).result == [1, 1]
    assert not Attempt.objects.exists()


def test_stalled_keeper_loses_the_lease(crew: Threads) -> None:
    run = two_steps.trigger()
    with override_settings(WORKFLOW={"LEASE": 0.1}):
        gate, working = held_in(crew, "a")
        bodies.during.clear()
        # From here on this process renews nothing, as when it is stopped for a while.
        keeper.let_all_go()
        eventually(lambda: drain() > 0)

    assert finished(run).result == [2, 1]
    gate.open()
    working.result(PATIENCE_SECONDS)
    assert Attempt.objects.get().outcome == "late"
    assert bodies.calls == {"a": 2, "b": 1}


def test_keeper_goes_on_when_the_database_was_away(
    crew: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = iter([OperationalError("away")] * 2)
    renew = claims.renew

    def sometimes(held: Any) -> int:
        error = next(failures, None)
        if error is not None:
            raise error
        return renew(held)

    monkeypatch.setattr(leases.store, "renew", sometimes)
    run = two_steps.trigger()
    with override_settings(WORKFLOW={"LEASE": 1}):
        gate, working = held_in(crew, "a")
        first = Delivery.objects.get().due_at
        eventually(lambda: Delivery.objects.get().due_at > first)
        gate.open()
        working.result(PATIENCE_SECONDS)

    assert finished(run).result == [1, 1]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_keeper_of_a_forked_child_begins_anew(crew: Threads) -> None:
    run = two_steps.trigger()
    gate, working = held_in(crew, "a")

    child = os.fork()
    if child == 0:
        os._exit(0 if keeper._thread is None and not keeper.is_holding() else 1)
    _, status = os.waitpid(child, 0)

    assert status == 0
    assert keeper.is_holding()
    gate.open()
    working.result(PATIENCE_SECONDS)
    finished(run)


def test_keeper_keeps_no_connection_while_nothing_is_held(crew: Threads) -> None:
    run = two_steps.trigger()
    with override_settings(WORKFLOW={"LEASE": 0.1}):
        gate, working = held_in(crew, "a")
        eventually(lambda: keeper._is_connected)
        gate.open()
        working.result(PATIENCE_SECONDS)
        eventually(lambda: not keeper._is_connected)

    finished(run)


def test_worker_that_is_told_to_stop_gives_back_what_has_not_begun() -> None:
    first, *rest = two_steps.trigger_many([None, None, None])
    Delivery.objects.exclude(run=first.id).update(due_at=claims.now())
    bodies.during["b"] = stopping.set
    try:
        drain()
    finally:
        stopping.clear()

    assert [row.tries for row in Delivery.objects.exclude(leased_by="")] == []
    assert all(row.due_at <= claims.now() for row in Delivery.objects.all())
    bodies.during.clear()
    drain()
    assert {run.refresh().status for run in (first, *rest)} == {"completed"}
    assert not Attempt.objects.exists()


def test_who_drains_waits_for_what_is_just_being_handed_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    release, handed_on = leases.store.release, []

    def slowly(tokens: Any) -> Any:
        handed_on.append(len(given := list(tokens)))
        Event().wait(2 * leases.PATIENCE_SECONDS)
        return release(given)

    monkeypatch.setattr(leases.store, "release", slowly)
    bodies.during["a"] = lambda: (
        Event().wait(2 * leases.PATIENCE_SECONDS) if bodies.calls["a"] == 1 else None
    )
    runs = two_steps.trigger_many([None] * 3)

    drain()

    assert handed_on[0] == 2
    assert [run.refresh().status for run in runs] == ["completed"] * 3
