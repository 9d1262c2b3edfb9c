"""A cancel that meets a body that can be undone: it is awaited, and undone by what became of it."""

from __future__ import annotations

from functools import partial
from time import sleep
from typing import Any

import pytest

from django_workflow import Undone, WorkflowContext, workflow
from django_workflow.models import Delivery, Run, Undo
from django_workflow.runtime.worker import drain
from tests.concurrency.together import Gate, Threads, bodies, expire_leases

pytestmark = pytest.mark.django_db(transaction=True)


def undo(undone: Undone) -> None:
    bodies(f"undo {undone.step}: {undone.outcome}")


@workflow(name="undo_alone", retries=0)
def alone(ctx: WorkflowContext[Any]) -> None:
    ctx.using(undo=undo).run("first", bodies, "first")
    ctx.using(undo=undo).run("second", bodies, "second")


@workflow(name="undo_beside", retries=0)
def beside(ctx: WorkflowContext[Any]) -> None:
    ctx.parallel(
        lambda: ctx.using(undo=undo).run("left", bodies, "left"),
        lambda: ctx.run("right", bodies, "right"),
    )


@workflow(name="undo_timed", retries=0)
def timed(ctx: WorkflowContext[Any]) -> None:
    ctx.using(undo=undo, timeout=0.3).run("first", bodies, "first")


@workflow(name="undo_timed_beside", retries=0)
def timed_beside(ctx: WorkflowContext[Any]) -> None:
    ctx.parallel(
        lambda: ctx.using(undo=undo, timeout=0.3).run("left", bodies, "left"),
        lambda: ctx.run("right", bodies, "right"),
    )


def rest(run: Run) -> None:
    drain()
    assert not Run.objects.stuck().exists()
    assert run.refresh().status == "cancelled", (run.reason, list(Delivery.objects.values()))
    assert run.undo_status == "completed"
    assert not Delivery.objects.exists()


def began(run: Run) -> None:
    """Let what has waited for the end of a lease wait no longer."""
    Delivery.objects.filter(run=run, leased_by="", due_at__isnull=False).update(
        due_at=run.created_at
    )


@pytest.mark.parametrize("flow", [alone, beside])
def test_cancel_waits_for_a_body_in_flight_and_undoes_what_it_did(flow: Any, crew: Threads) -> None:
    name, gate = ("first" if flow is alone else "left"), Gate()
    bodies.during[name] = gate.hold
    run = flow.trigger()
    worker = crew.start(drain)
    gate.await_arrival()

    run.cancel()
    crew.start(drain).result(30)
    assert run.refresh().status == "cancelling"
    assert not any(body.startswith("undo") for body in bodies.calls)
    gate.open()
    worker.result(30)
    began(run)
    rest(run)

    assert bodies.calls[f"undo {name}: done"] == 1
    assert bodies.calls["second"] == 0


@pytest.mark.parametrize("flow", [alone, beside])
def test_body_that_never_comes_back_is_undone_when_its_lease_is_over(
    flow: Any, crew: Threads
) -> None:
    name, gate = ("first" if flow is alone else "left"), Gate()
    bodies.during[name] = gate.hold
    run = flow.trigger()
    worker = crew.start(drain)
    gate.await_arrival()

    run.cancel()
    expire_leases(run.id)
    crew.start(drain).result(30)
    began(run)
    crew.start(drain).result(30)
    rest(run)
    gate.open()
    worker.result(30)

    assert bodies.calls[f"undo {name}: unknown"] == 1
    rest(run)


@pytest.mark.parametrize("flow", [timed, timed_beside])
def test_body_that_has_timed_out_is_undone_when_it_has_ended(flow: Any, crew: Threads) -> None:
    name, gate = ("first" if flow is timed else "left"), Gate()
    bodies.during[name] = gate.hold
    run = flow.trigger()
    worker = crew.start(drain)
    gate.await_arrival()
    while not run.attempts.filter(outcome="timed_out").exists():
        sleep(0.05)

    crew.start(drain).result(30)
    assert run.refresh().status == "running"
    assert not Run.objects.stuck().exists()
    gate.open()
    worker.result(30)
    drain()

    assert (run.refresh().status, run.undo_status) == ("failed", "completed")
    assert (bodies.calls[name], bodies.calls[f"undo {name}: unknown"]) == (1, 1)
    step = run.steps.get(name=name)
    assert (step.status, step.failure.error_class.rpartition(".")[2]) == (
        "failed",
        "StepTimeoutError",
    )
    assert set(run.attempts.values_list("outcome", flat=True)) == {"timed_out", "late"}
    assert not Delivery.objects.filter(run=run, step_key__gt="").exists()


@pytest.mark.parametrize("time", range(10))
def test_cancel_at_any_moment_undoes_each_body_that_began(time: int, crew: Threads) -> None:
    run = beside.trigger() if time % 2 else alone.trigger()

    def cancel() -> None:
        run.cancel_or_not = True
        try:
            run.cancel()
        except Exception:
            run.cancel_or_not = False

    crew.together(drain, cancel, drain)
    drain()
    began(run)
    drain()

    run.refresh()
    assert run.is_finished, (run.status, run.undo_status, list(Delivery.objects.values()))
    assert not Run.objects.stuck().exists()
    begun = [name for name in ("first", "second", "left") if bodies.calls[name]]
    undone = [name for name in bodies.calls if name.startswith("undo")]
    if run.status == "completed":
        assert not undone
        return
    assert {name.split()[1].rstrip(":") for name in undone} >= set(begun)
    assert not Undo.objects.filter(undone=False).exists()


def test_cancel_while_a_failed_run_is_undoing_goes_on_with_it(crew: Threads) -> None:
    gate = Gate()

    def fail() -> None:
        raise ValueError("No.")

    bodies.during["second"] = fail
    bodies.during["undo second: unknown"] = gate.hold
    run = alone.trigger()
    worker = crew.start(drain)
    gate.await_arrival()

    run.cancel()
    assert run.refresh().status == "cancelling"
    gate.open()
    worker.result(30)
    rest(run)

    assert bodies.calls["undo second: unknown"] == 1
    assert bodies.calls["undo first: done"] == 1


def test_two_workers_undo_each_step_once(crew: Threads) -> None:
    runs = [alone.trigger() for _ in range(5)]
    bodies.during["second"] = lambda: 1 / 0

    crew.together(drain, drain, partial(drain), drain)
    drain()

    assert {run.refresh().undo_status for run in runs} == {"completed"}
    assert bodies.calls["undo first: done"] == 5
    assert bodies.calls["undo second: unknown"] == 5
