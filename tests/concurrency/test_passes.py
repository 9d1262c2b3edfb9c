"""Passes that meet: workers, re-entries, zombies and verbs around one run. One executes, and nothing is lost."""

from __future__ import annotations

from functools import partial
from threading import Barrier, Event
from typing import Any

import pytest
from django.test import override_settings

from django_workflow import WorkflowContext, workflow
from django_workflow.core.types import RunStatus
from django_workflow.models import Attempt, Delivery, Step
from django_workflow.runtime import leases
from django_workflow.runtime.journals import journals
from django_workflow.runtime.leases import keeper
from django_workflow.runtime.worker import drain
from django_workflow.store import claims, runs
from tests.app.models import Note
from tests.concurrency.together import (
    PATIENCE_SECONDS,
    Gate,
    Threads,
    bodies,
    eventually,
    expire_leases,
    finished,
    held_in,
    reenter,
)
from tests.store.made import FAILURE, PAST

pytestmark = pytest.mark.django_db(transaction=True)


@workflow(name="passes_two_steps", retry_delay=0)
def two_steps(ctx: WorkflowContext[Any]) -> list[int]:
    return [ctx.run("a", bodies, "a"), ctx.run("b", bodies, "b")]


@workflow(name="passes_fan_out")
def fan_and_join(ctx: WorkflowContext[Any]) -> list[int]:
    def branch(name: str) -> int:
        ctx.run("first", bodies, f"{name}1")
        return ctx.run("second", bodies, f"{name}2")

    ctx.parallel(lambda: branch("a"), lambda: branch("b"), lambda: branch("c"))
    bodies.meet("between")
    return [ctx.run("join", bodies, "join")]


@workflow(name="passes_fifty")
def fifty(ctx: WorkflowContext[Any]) -> int:
    ctx.parallel(*[partial(ctx.run, "part", bodies, f"part{index}") for index in range(50)])
    return ctx.run("join", bodies, "join")


@workflow(name="passes_code")
def with_code(ctx: WorkflowContext[Any]) -> int:
    ctx.parallel(lambda: ctx.run("a", bodies, "a"), lambda: ctx.run("b", bodies, "b"))
    bodies.meet("between")
    return ctx.run("c", bodies, "c")


@workflow(name="passes_note")
def with_note(ctx: WorkflowContext[Any]) -> int:
    def body() -> int:
        note = Note.objects.create(text="from the atomic step")
        bodies("note")
        return note.pk

    return ctx.atomic("note", body)


@pytest.mark.parametrize("time", range(5))
def test_two_workers_and_a_reentry_race_for_a_single_step(time: int, crew: Threads) -> None:
    run = two_steps.trigger()
    [claim] = claims.claim("worker", 1)

    entered = crew.together(partial(reenter, claim), partial(reenter, claim), drain, drain)

    assert entered[:2].count(True) == 1
    assert finished(run).result == [1, 1]
    assert bodies.calls == {"a": 1, "b": 1}


@pytest.mark.parametrize("time", range(8))
def test_two_workers_and_reentries_race_through_a_fan_out_and_its_joins(
    time: int, crew: Threads
) -> None:
    run = fan_and_join.trigger()
    crew.together(drain, drain, drain, drain)
    # Whoever looked while another held the last delivery is gone: the sweep comes next.
    crew.together(drain, drain)

    assert finished(run).result == [1]
    assert set(bodies.calls.values()) == {1}
    assert len(bodies.calls) == 7


@pytest.mark.parametrize("time", range(4))
def test_reentries_race_for_the_deliveries_of_a_fan_out(time: int, crew: Threads) -> None:
    run = fan_and_join.trigger()
    reenter(claims.claim("worker", 1)[0])
    held = claims.claim("worker", 8)

    entered = crew.together(*[partial(reenter, claim) for claim in held * 2], drain)

    assert entered[:-1].count(True) == len(held) == 3
    assert finished(run).result == [1]
    assert set(bodies.calls.values()) == {1}


def test_both_last_branches_record_at_one_moment_and_the_join_is_made_once(crew: Threads) -> None:
    run = fan_and_join.trigger()
    drain(seconds=0)
    drain(seconds=0)
    drain(seconds=0)
    meet = Barrier(3)
    bodies.during |= {f"{name}2": partial(meet.wait, PATIENCE_SECONDS) for name in "abc"}

    with override_settings(WORKFLOW={"CLAIM_BATCH": 1}):
        crew.together(drain, drain, drain)

    assert finished(run).result == [1]
    assert set(bodies.calls.values()) == {1}


@pytest.mark.parametrize("batch", [1, 8])
def test_fifty_parallel_steps_by_four_threads_join_once(batch: int, crew: Threads) -> None:
    run = fifty.trigger()

    with override_settings(WORKFLOW={"CLAIM_BATCH": batch}):
        drain(seconds=0)
        crew.together(drain, drain, drain, drain)
        crew.together(drain, drain)

    assert finished(run).result == 1
    assert len(bodies.calls) == 51
    assert set(bodies.calls.values()) == {1}
    assert Step.objects.count() == 51
    assert not Attempt.objects.exists()


def test_two_workers_race_between_a_pass_and_its_end(crew: Threads) -> None:
    run = with_code.trigger()
    gate, first = held_in(crew, "between")

    crew.together(drain, drain)
    gate.open()
    first.result(PATIENCE_SECONDS)

    assert finished(run).result == 1
    assert bodies.calls == {"a": 1, "b": 1, "c": 1}


def test_record_between_the_journal_and_the_end_of_a_pass_is_not_lost(crew: Threads) -> None:
    run = fan_and_join.trigger()
    drain(seconds=0)
    in_body, in_pass = Gate(), Gate()
    bodies.during["a1"] = in_body.hold

    with override_settings(WORKFLOW={"CLAIM_BATCH": 1}):
        slow = crew.start(drain)
        in_body.await_arrival()
        drain()
        # The turn waits for the slow body alone; one more pass is woken, and held after it has read the journal.
        bodies.during["b2"] = in_pass.hold
        runs.wake(run.id)
        in_body.open()
        slow.result(PATIENCE_SECONDS)
        in_pass.open()

    assert finished(run).result == [1]
    assert set(bodies.calls.values()) == {1}


@workflow(name="passes_wake")
def woken(ctx: WorkflowContext[Any]) -> None:
    bodies.meet("pass")
    ctx.sleep("nap", "1h")


def test_wake_between_the_journal_and_the_end_of_a_pass_is_not_lost(crew: Threads) -> None:
    run = woken.trigger()
    gate = Gate()
    bodies.during["pass"] = gate.hold
    with override_settings(WORKFLOW={"CLAIM_BATCH": 1}):
        working = crew.start(partial(drain, seconds=0))
        gate.await_arrival()
        runs.wake(run.id)
        gate.open()
        working.result(PATIENCE_SECONDS)

    [row] = Delivery.objects.all()
    assert row.due_at is not None
    assert row.due_at <= claims.now()


def test_cancel_fences_the_body_under_way_and_keeps_its_result_aside(crew: Threads) -> None:
    run = two_steps.trigger()
    gate, working = held_in(crew, "a")

    run.cancel()
    gate.open()
    working.result(PATIENCE_SECONDS)

    late = Attempt.objects.get()
    assert (run.refresh().status, late.outcome, late.result_text) == ("cancelled", "late", "1")
    assert bodies.calls == {"a": 1}
    assert not Step.objects.filter(status="completed").exists()


def test_failure_of_a_fenced_body_is_kept_aside(crew: Threads) -> None:
    run = two_steps.trigger()
    gate = Gate()

    def fail() -> None:
        gate.hold()
        raise ValueError("too late")

    bodies.during["a"] = fail
    working = crew.start(drain)
    gate.await_arrival()
    run.cancel()
    gate.open()
    working.result(PATIENCE_SECONDS)

    late = Attempt.objects.get()
    assert late.outcome == "late"
    assert late.failure is not None
    assert late.failure.message == "too late"


def test_pause_lets_the_body_under_way_record_and_begins_nothing_more(crew: Threads) -> None:
    run = two_steps.trigger()
    gate, working = held_in(crew, "a")

    run.pause()
    gate.open()
    working.result(PATIENCE_SECONDS)
    drain()

    assert (run.refresh().status, bodies.calls) == ("paused", {"a": 1})
    assert Step.objects.get().status == "completed"
    run.resume()
    assert finished(run).result == [1, 1]


def test_pause_and_resume_during_one_body_are_as_if_nothing_had_been(crew: Threads) -> None:
    run = two_steps.trigger()
    gate, working = held_in(crew, "a")

    run.pause()
    run.resume()
    gate.open()
    working.result(PATIENCE_SECONDS)

    assert finished(run).result == [1, 1]
    assert bodies.calls == {"a": 1, "b": 1}


def test_run_paused_while_its_fan_out_is_out_goes_on_when_it_is_resumed(crew: Threads) -> None:
    run = fan_and_join.trigger()
    drain(seconds=0)
    with override_settings(WORKFLOW={"CLAIM_BATCH": 1}):
        gate, working = held_in(crew, "a1")
        run.pause()
        gate.open()
        working.result(PATIENCE_SECONDS)
    drain()

    assert (run.refresh().status, bodies.calls) == ("paused", {"a1": 1})
    run.resume()
    assert finished(run).result == [1]
    assert set(bodies.calls.values()) == {1}


def test_paused_run_whose_fan_out_is_out_can_be_cancelled(crew: Threads) -> None:
    run = fan_and_join.trigger()
    drain(seconds=0)
    run.pause()

    run.cancel()
    drain()

    assert run.refresh().status == "cancelled"
    assert not Delivery.objects.exists()


def test_zombie_is_fenced_and_its_result_kept_aside(crew: Threads) -> None:
    run = two_steps.trigger()
    gate, zombie = held_in(crew, "a")
    expire_leases(run.id)
    del bodies.during["a"]

    assert finished(run).result == [2, 1]
    gate.open()
    zombie.result(PATIENCE_SECONDS)

    late = Attempt.objects.get()
    assert (late.step_key, late.outcome, late.result_text) == ("a", "late", "1")
    assert run.refresh().result == [2, 1]
    assert bodies.calls == {"a": 2, "b": 1}


def test_zombie_of_a_step_delivery_is_fenced(crew: Threads) -> None:
    run = fan_and_join.trigger()
    drain(seconds=0)
    with override_settings(WORKFLOW={"CLAIM_BATCH": 1}):
        gate, zombie = held_in(crew, "a1")
        expire_leases(run.id)
        del bodies.during["a1"]
        assert finished(run).result == [1]
        gate.open()
        zombie.result(PATIENCE_SECONDS)

    assert Attempt.objects.get().outcome == "late"
    assert bodies.calls["a1"] == 2
    assert bodies.calls["join"] == 1


def test_zombie_that_wakes_before_anybody_has_recorded_is_fenced_all_the_same(
    crew: Threads,
) -> None:
    run = two_steps.trigger()
    first, second = Gate(), Gate()
    bodies.during["a"] = first.hold
    zombie = crew.start(drain)
    first.await_arrival()
    expire_leases(run.id)
    bodies.during["a"] = second.hold
    successor = crew.start(drain)
    second.await_arrival()

    first.open()
    zombie.result(PATIENCE_SECONDS)
    assert not Step.objects.filter(status="completed").exists()
    second.open()
    successor.result(PATIENCE_SECONDS)

    assert finished(run).result == [2, 1]


def test_atomic_step_under_a_stale_token_takes_its_writes_back() -> None:
    run = with_note.trigger()
    # Somebody has taken the delivery over while the body was at work.
    bodies.during["note"] = lambda: Delivery.objects.update(token=99)
    drain()
    late = Attempt.objects.get()

    assert (late.outcome, Note.objects.count()) == ("late", 0)

    bodies.during.clear()
    expire_leases(run.id)
    finished(run)
    assert Note.objects.count() == 1


@pytest.mark.pg_only
def test_atomic_zombie_takes_its_writes_back(crew: Threads) -> None:
    run = with_note.trigger()
    gate, zombie = held_in(crew, "note")
    expire_leases(run.id)
    del bodies.during["note"]

    finished(run)
    gate.open()
    zombie.result(PATIENCE_SECONDS)

    assert Note.objects.count() == 1
    assert bodies.calls == {"note": 2}


def test_claims_behind_a_slow_body_are_handed_on(crew: Threads) -> None:
    slow = two_steps.trigger()
    others = two_steps.trigger_many([None, None])
    Delivery.objects.filter(run=slow.id).update(due_at=PAST)
    gate, working = held_in(crew, "a")
    bodies.during.clear()

    eventually(lambda: Delivery.objects.exclude(leased_by="").count() == 1)

    def drained() -> bool:
        # Again: on a slow machine a claim of this thread, too, is handed on, and taken at the next time.
        drain()
        return all(run.refresh().status == "completed" for run in others)

    eventually(drained)
    assert slow.refresh().status == "running"
    gate.open()
    working.result(PATIENCE_SECONDS)
    finished(slow)
    assert bodies.calls == {"a": 3, "b": 3}
    assert not Attempt.objects.exists()


def test_a_slow_body_lets_the_claims_of_other_threads_alone(crew: Threads) -> None:
    slow = two_steps.trigger()
    gate, working = held_in(crew, "a")
    two_steps.trigger_many([None, None])

    ours = keeper.hold(claims.claim("another thread", 2))
    # Some ticks of the keeper, which looks after both threads.
    Event().wait(4 * leases.PATIENCE_SECONDS)

    are_ours = [keeper.begin(held) for held in ours]
    for held in ours:
        keeper.let_go(held)
    gate.open()
    working.result(PATIENCE_SECONDS)
    finished(slow)
    assert are_ours == [True, True]


@workflow(name="passes_failing_branches", retries=0)
def failing_branches(ctx: WorkflowContext[Any]) -> tuple[int, ...]:
    def branch(name: str) -> int:
        bodies.meet(f"before {name}")
        return ctx.run("same name", bodies, name)

    return ctx.parallel(lambda: branch("a"), lambda: branch("b"), lambda: branch("c"))


def fail() -> None:
    raise ValueError("broken")


@pytest.mark.parametrize("kept", [True, False], ids=["kept journal", "another process"])
def test_resume_opens_one_failed_branch_after_the_other_and_keeps_the_rest(kept: bool) -> None:
    run = failing_branches.trigger()
    bodies.during |= {"a": fail, "c": fail}
    forget = bodies.during.clear if kept else journals.clear
    drain()
    first = run.refresh().failed_step
    bodies.during.clear()
    forget()

    run.resume()
    drain()

    run.refresh()
    assert (run.status, {first, run.failed_step}) == (
        "failed",
        {"p1.0/same name", "p1.2/same name"},
    )
    forget()
    run.resume()
    assert finished(run).result == (2, 1, 2)
    assert bodies.calls == {"a": 2, "b": 1, "c": 2}


def test_failed_run_resumed_while_another_branch_is_in_flight(crew: Threads) -> None:
    run = failing_branches.trigger()
    drain(seconds=0)
    gate = Gate()
    bodies.during |= {"a": gate.hold, "c": fail}
    with override_settings(WORKFLOW={"CLAIM_BATCH": 1}):
        working = crew.start(drain)
        gate.await_arrival()
        drain()
        # The failure is seen when the join is: the slow branch comes first.
        bodies.during.clear()
        gate.open()
        working.result(PATIENCE_SECONDS)
    drain()

    assert run.refresh().status == "failed"
    run.resume()
    assert finished(run).result == (1, 1, 2)


def test_blocked_run_resumed_while_its_fan_out_is_out_executes_each_body_once(
    crew: Threads,
) -> None:
    run = failing_branches.trigger()
    drain(seconds=0)
    with override_settings(WORKFLOW={"CLAIM_BATCH": 1}):
        gate, working = held_in(crew, "a")
        runs.wake(run.id)
        [turn] = [c for c in claims.claim("worker", 8) if c.is_turn]
        runs.end_badly(turn, RunStatus.BLOCKED, FAILURE)
        run.refresh().resume()
        gate.open()
        working.result(PATIENCE_SECONDS)
    expire_leases(run.id)

    assert finished(run).result == (1, 1, 1)
    assert bodies.calls == {"a": 1, "b": 1, "c": 1}
