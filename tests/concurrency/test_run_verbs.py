"""Verbs of people that meet claims, records and each other: nothing is lost, nothing is done twice, and nobody waits for ever."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import override_settings

from django_workflow import (
    FlowControl,
    RetryPolicy,
    RunStateError,
    WorkflowContext,
    WorkflowError,
    decide_approval,
    notify,
    workflow,
)
from django_workflow.models import Action, Approval, Attempt, Delivery, Run, Step
from django_workflow.runtime.worker import drain
from django_workflow.store import claims, runs
from tests.concurrency.together import PATIENCE_SECONDS, Gate, Threads, bodies, finished

pytestmark = pytest.mark.django_db(transaction=True)

LATER = RetryPolicy(max_retries=3, first_delay=timedelta(hours=1), jitter=0)


class Flaky:
    """Fails the first time."""

    def __call__(self, name: str) -> int:
        count = bodies(name)
        if count == 1:
            raise ValueError(name)
        return count


flaky = Flaky()


@workflow(name="run_verbs_retry", retries=LATER)
def retrying(ctx: WorkflowContext[Any]) -> Any:
    return ctx.run("a", flaky, "a")


@workflow(name="run_verbs_branches", retries=LATER)
def branching(ctx: WorkflowContext[Any]) -> Any:
    return ctx.parallel(lambda: ctx.run("a", flaky, "a"), lambda: ctx.run("b", flaky, "b"))


@workflow(name="run_verbs_sleep")
def sleeping(ctx: WorkflowContext[Any]) -> Any:
    ctx.parallel(lambda: ctx.sleep("rest", "1h"), lambda: ctx.run("a", bodies, "a"))
    return ctx.run("b", bodies, "b")


@workflow(name="run_verbs_wait")
def waiting(ctx: WorkflowContext[Any]) -> Any:
    ctx.run("a", bodies, "a")
    return ctx.wait_for_event("e", "run_verbs:e", timeout="1h").timed_out


@workflow(name="run_verbs_approval")
def asking(ctx: WorkflowContext[Any]) -> Any:
    return ctx.wait_for_approval("sign", assignees=["ann@example.org"], timeout="1h").approved


@workflow(name="run_verbs_steps")
def steps(ctx: WorkflowContext[Any]) -> Any:
    return [ctx.run(name, bodies, name) for name in "abc"]


def attempt(verb: Callable[..., Any], *args: Any, **options: Any) -> Callable[[], str]:
    """Return a call that tells whether the verb was done."""

    def call() -> str:
        try:
            verb(*args, **options)
        except WorkflowError as error:
            return type(error).__name__
        return "done"

    return call


@pytest.mark.parametrize("time", range(4))
@pytest.mark.parametrize("function", [retrying, branching])
def test_retry_now_meets_itself_and_workers(function: Any, time: int, crew: Threads) -> None:
    run = function.trigger()
    drain()

    with override_settings(WORKFLOW={"CLAIM_BATCH": 1}):
        told = crew.together(
            attempt(Run.objects.get(pk=run.id).retry_now),
            attempt(Run.objects.get(pk=run.id).retry_now),
            drain,
            drain,
        )

    assert "done" in told[:2]
    finished(run)
    assert set(bodies.calls.values()) == {2}


def test_retry_now_while_the_failing_attempt_is_put_off_is_not_lost_for_the_run(
    crew: Threads,
) -> None:
    run = retrying.trigger()
    gate = Gate()
    bodies.during["a"] = gate.hold

    working = crew.start(drain)
    gate.await_arrival()
    told = attempt(Run.objects.get(pk=run.id).retry_now)()
    gate.open()
    working.result(PATIENCE_SECONDS)

    # There was no delay yet that could be skipped: it says so, and does nothing.
    assert told == "RunStateError"
    run.refresh().retry_now()
    finished(run)


def test_retry_now_meets_a_step_delivery_that_was_claimed_too_early() -> None:
    run = branching.trigger()
    drain()
    Delivery.objects.exclude(step_key="").update(due_at=claims.now())
    held = claims.claim("worker", 5)
    wake_at = Step.objects.get(key="p1.0/a").wake_at

    run.retry_now()
    for claim in held:
        claims.give_back_step(claim, wake_at)

    finished(run)


@pytest.mark.parametrize("time", range(4))
def test_skip_meets_the_record_of_another_branch(time: int, crew: Threads) -> None:
    run = sleeping.trigger()
    gate = Gate()
    bodies.during["a"] = gate.hold
    with override_settings(WORKFLOW={"CLAIM_BATCH": 1}):
        working = crew.start(drain)
        gate.await_arrival()
        skipping = crew.start(Run.objects.get(pk=run.id).skip_sleep)
        gate.open()
        skipping.result(PATIENCE_SECONDS)
        working.result(PATIENCE_SECONDS)

    finished(run)
    assert bodies.calls == {"a": 1, "b": 1}
    assert Step.objects.filter(kind="sleep", sequence__isnull=False).count() == 1


def test_skip_while_the_turn_is_held_makes_it_due_when_it_is_given_back() -> None:
    run = sleeping.trigger()
    drain()
    runs.wake(run.id)
    [claim] = claims.claim("worker", 1)
    Run.objects.get(pk=run.id).skip_sleep()

    claims.give_back(claim, due_at=claims.now() + timedelta(hours=1))

    finished(run)


@pytest.mark.parametrize("time", range(6))
def test_extension_meets_the_end_of_the_time(time: int, crew: Threads) -> None:
    run = waiting.trigger()
    drain()
    soon = claims.now() + timedelta(milliseconds=30)
    Step.objects.filter(key="e").update(wake_at=soon)
    Delivery.objects.update(due_at=soon)

    told, *_ = crew.together(
        attempt(Run.objects.get(pk=run.id).extend_timeout, "1h", "e"),
        lambda: drain(seconds=0.2),
        lambda: drain(seconds=0.2),
    )

    run.refresh()
    if told == "done":
        assert run.status == "running", "what was given more time does not time out"
        assert not Run.objects.stuck().exists()
        notify("run_verbs:e")
        assert finished(run).result is False
    else:
        assert finished(run).result is True


@pytest.mark.parametrize("time", range(4))
def test_extension_meets_the_decision(time: int, crew: Threads) -> None:
    run = asking.trigger()
    drain()
    approval = Approval.objects.get()

    crew.together(
        attempt(Run.objects.get(pk=run.id).extend_timeout, "1h", "sign"),
        lambda: decide_approval(approval, approve=True, by="ann@example.org"),
        drain,
    )

    assert finished(run).result is True


@pytest.mark.parametrize("time", range(3))
def test_priority_meets_those_who_give_slots(time: int, crew: Threads) -> None:
    control = FlowControl("run_verbs", parallelism=1)
    found = [steps.trigger(flow_control=control) for _ in range(5)]

    with override_settings(WORKFLOW={"CLAIM_BATCH": 1}):
        crew.together(
            drain, drain, *(attempt(run.set_priority, place) for place, run in enumerate(found))
        )

    for run in found:
        finished(run)


@pytest.mark.parametrize("time", range(4))
def test_edit_meets_a_record_of_what_is_in_flight(time: int, crew: Threads) -> None:
    run = steps.trigger()
    gate = Gate()
    bodies.during["b"] = gate.hold
    working = crew.start(drain)
    gate.await_arrival()
    run.pause()

    with pytest.raises(RunStateError, match="is still in flight"):
        run.edit_result("a", 9)
    editing = crew.start(attempt(Run.objects.get(pk=run.id).edit_result, "a", 9))
    gate.open()
    working.result(PATIENCE_SECONDS)
    if editing.result(PATIENCE_SECONDS) != "done":
        run.edit_result("a", 9)
    run.resume()

    assert finished(run).result == [9, 2, 1]


def test_edit_fences_whoever_works_under_a_lease_that_is_over(crew: Threads) -> None:
    run = steps.trigger()
    gate = Gate()
    bodies.during["b"] = gate.hold
    working = crew.start(drain)
    gate.await_arrival()
    run.pause()
    Delivery.objects.update(due_at=claims.now())

    run.edit_result("a", 9)
    gate.open()
    working.result(PATIENCE_SECONDS)
    bodies.during.clear()
    run.resume()

    assert finished(run).result == [9, 2, 1]
    assert Attempt.objects.filter(step_key="b", outcome="late").count() == 1


@pytest.mark.parametrize("time", range(3))
def test_two_edits_at_one_moment_are_one_after_the_other(time: int, crew: Threads) -> None:
    run = steps.trigger()
    gate = Gate()
    bodies.during["c"] = run.pause
    gate.open()
    drain()
    assert run.refresh().status == "paused"

    told = crew.together(
        attempt(Run.objects.get(pk=run.id).edit_result, "a", 8),
        attempt(Run.objects.get(pk=run.id).edit_result, "a", 9),
        attempt(Run.objects.get(pk=run.id).resume),
    )
    bodies.during.clear()

    result = finished(run).result
    assert told[2] == "done"
    # Each edit that was done is audited; the last of them counts.
    edits = Action.objects.filter(verb="edit").order_by("id")
    assert edits.count() == told[:2].count("done")
    last = edits.last()
    assert result[0] == (int(last.details["after"]) if last else 1)


@pytest.mark.parametrize("time", range(3))
def test_fork_meets_the_run_that_goes_on(time: int, crew: Threads) -> None:
    run = steps.trigger()
    gate = Gate()
    bodies.during["c"] = gate.hold
    working = crew.start(drain)
    gate.await_arrival()

    forking = crew.start(lambda: Run.objects.get(pk=run.id).fork("b"))
    gate.open()
    new = forking.result(PATIENCE_SECONDS)
    working.result(PATIENCE_SECONDS)
    drain()

    assert finished(run).result[0] == 1
    assert finished(new).result[0] == 1
    assert bodies.calls == {"a": 1, "b": 2, "c": 2}
