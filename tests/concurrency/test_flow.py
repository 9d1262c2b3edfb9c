"""Slots among threads and processes: never more than there are, none lost with its holder, nobody left in line."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from functools import partial
from pathlib import Path
from threading import Lock
from time import sleep
from typing import Any

import pytest
from django.db import transaction

from django_workflow import FlowControl, WorkflowContext, flow_control, workflow
from django_workflow.models import Delivery, FlowKey, FlowStart, FlowTicket, Run, Step
from django_workflow.runtime.sweeper import free_dead_workers, sweep
from django_workflow.runtime.worker import drain
from django_workflow.store import claims, flow
from tests.concurrency.flow_child import KILLED
from tests.concurrency.together import Gate, Threads, bodies, eventually, expire_leases, finished

pytestmark = pytest.mark.django_db(transaction=True)

RUNS = int(os.environ.get("WORKFLOW_TESTS_FLOW_RUNS", "200"))
ONE = FlowControl("flow_one", parallelism=1)


class Inside:
    """Counts who is inside at once."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.now = self.most = 0

    def __call__(self) -> None:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        sleep(0.01)
        with self._lock:
            self.now -= 1


inside = Inside()


@workflow(name="flow_crowd", flow_control=FlowControl("flow_crowd", parallelism=2))
def crowd(ctx: WorkflowContext[Any]) -> None:
    ctx.run("a", inside)
    ctx.parallel(lambda: ctx.run("b", inside), lambda: ctx.run("c", inside))


@workflow(name="flow_one", flow_control=ONE)
def one(ctx: WorkflowContext[Any]) -> str:
    ctx.run("body", bodies, ctx.request_payload)
    return str(ctx.request_payload)


@workflow(name="flow_unlimited")
def unlimited(ctx: WorkflowContext[Any]) -> None:
    ctx.run("body", bodies, "unlimited")


@workflow(name="flow_fast", flow_control=FlowControl("flow_fast", rate=5, period=0.2))
def fast(ctx: WorkflowContext[Any]) -> None:
    ctx.run("body", bodies, "fast")


def all_done() -> bool:
    return not Run.objects.unfinished().exists()


def work() -> None:
    while not all_done():
        drain(seconds=0.5)
        sleep(0.002)


@pytest.mark.timeout(300)
def test_threads_never_exceed_the_parallelism_and_need_no_sweep(crew: Threads) -> None:
    inside.now = inside.most = 0
    crowd.trigger_many([None] * 40)

    crew.together(work, work, work, work)

    assert inside.most == 2
    assert not FlowTicket.objects.exists()


@pytest.mark.serial
@pytest.mark.timeout(max(900, RUNS))
def test_parallelism_1_is_never_exceeded_though_holders_are_killed(
    child_env: dict[str, str], tmp_path: Path
) -> None:
    stand_in = workflow(name="flow_killed", flow_control=FlowControl("flow_killed", parallelism=1))
    stand_in(lambda ctx: None).trigger_many([None] * RUNS)
    children: list[subprocess.Popen[bytes]] = []
    deaths, seed = 0, 0

    while not all_done():
        for child in [c for c in children if c.poll() is not None]:
            children.remove(child)
            deaths += child.returncode == KILLED
            assert child.returncode in (0, KILLED)
            free_dead_workers()
        while len(children) < 3 and not all_done():
            seed += 1
            chance = str(min(0.02, 4 / RUNS))
            command = [sys.executable, "-m", "tests.concurrency.flow_child"]
            children.append(
                subprocess.Popen([*command, str(tmp_path), str(seed), chance], env=child_env)
            )
        sleep(0.05)
    for child in children:
        child.wait(60)

    assert [found.name for found in tmp_path.glob("overlap-*")] == []
    assert deaths >= 1
    assert Run.objects.filter(status="completed").count() == RUNS
    sweep(force=True)
    assert not FlowTicket.objects.exists()


def test_slot_of_a_holder_whose_lease_is_over_goes_to_the_next(crew: Threads) -> None:
    gate = Gate()
    bodies.during["first"] = gate.hold
    first, second = one.trigger("first"), one.trigger("second")
    holder = crew.start(drain)
    gate.await_arrival()
    assert bodies.calls["second"] == 0

    bodies.during.clear()
    expire_leases(first.id)
    sweep(force=True)
    eventually(lambda: bool(drain() or bodies.calls["second"]))
    gate.open()
    holder.result(30)

    assert finished(second).result == "second"
    assert finished(first).result == "first"
    sweep(force=True)
    assert not FlowTicket.objects.exists()


def test_release_that_died_is_made_good_by_the_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = one.trigger("first"), one.trigger("second")
    with monkeypatch.context() as dying:
        dying.setattr(flow, "release", lambda slot: [])
        drain()
    assert first.refresh().status == "completed"
    assert second.refresh().status == "pending"
    assert not Run.objects.stuck().exists()

    sweep(force=True)

    assert finished(second).result == "second"


def test_line_in_which_nobody_moves_is_stuck_until_the_sweep() -> None:
    key = flow_control("flow_one").set(parallelism=1).pause()
    run = one.trigger("left")
    assert not Run.objects.stuck().exists()
    FlowKey.objects.update(paused=False)

    assert [found.pk for found in Run.objects.stuck()] == [run.pk]
    sweep(force=True)
    assert not Run.objects.stuck().exists()
    assert finished(run).result == "left"
    key.reset()


def test_grant_whose_wake_up_was_lost_is_woken_by_the_sweep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key = flow_control("flow_one")
    key.pause()
    run = one.trigger("late")
    with monkeypatch.context() as dying:
        dying.setattr(flow, "wake", lambda woken: 0)
        key.resume()
    drain()
    assert FlowTicket.objects.get().state == "granted"
    assert run.refresh().status == "pending"

    sweep(force=True)

    assert finished(run).result == "late"


def test_trigger_that_died_after_its_commit_is_found_by_the_sweep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as dying:
        dying.setattr(transaction, "on_commit", lambda *args, **options: None)
        run = one.trigger("found")
    drain()
    assert run.refresh().status == "pending"

    sweep(force=True)

    assert finished(run).result == "found"


def test_trigger_that_is_rolled_back_leaves_no_place_in_line() -> None:
    flow_control("flow_one").pause()
    with transaction.atomic():
        one.trigger("gone")
        transaction.set_rollback(True)

    assert flow_control("flow_one").waiting == 0
    flow_control("flow_one").resume()


def test_long_line_is_not_looked_at_by_those_who_claim() -> None:
    key = flow_control("flow_one").set(parallelism=1).pause()
    one.trigger_many(["waiting"] * 300)

    assert claims.count_due(1000) == 0
    run = unlimited.trigger()
    assert drain() == 1
    assert run.refresh().status == "completed"
    assert not Run.objects.stuck().exists()
    assert key.waiting == 300
    Run.objects.filter(workflow="flow_one").delete()
    key.reset()


def test_granted_run_whose_delivery_never_comes_goes_to_the_end_of_the_line() -> None:
    key = flow_control("flow_one").pause()
    broken, patient = one.trigger("broken"), one.trigger("patient")
    key.set(parallelism=1).resume()
    past = claims.now() - timedelta(hours=1)
    FlowTicket.objects.filter(run=broken).update(expires_at=past)
    Delivery.objects.filter(run=broken).update(trouble="away", due_at=claims.now() + timedelta(1))

    sweep(force=True)
    drain()

    assert finished(patient)
    assert list(bodies.calls) == ["patient", "broken"]


@pytest.mark.timeout(120)
def test_rate_is_exact_by_the_clock_of_the_database(
    crew: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = []
    usual = flow._hold

    def noted(*args: Any) -> Any:
        begun.append(args[4].now)
        return usual(*args)

    monkeypatch.setattr(flow, "_hold", noted)
    fast.trigger_many([None] * 40)

    crew.together(work, work)

    begun.sort()
    assert len(begun) == 40
    spans = [later - first for first, later in zip(begun, begun[5:], strict=False)]
    assert min(spans) >= timedelta(milliseconds=200)
    # Neither slept too long: seven periods, and what the machine adds.
    assert begun[-1] - begun[0] < timedelta(seconds=8)
    assert FlowStart.objects.count() <= 5


def test_two_keys_share_nothing(crew: Threads) -> None:
    gate = Gate()
    bodies.during["held"] = gate.hold
    held = one.trigger("held")
    holder = crew.start(drain)
    gate.await_arrival()

    other = crowd.trigger()
    assert finished(other).status == "completed"

    gate.open()
    holder.result(30)
    finished(held)


def test_pinned_limits_are_not_overridden_by_the_code() -> None:
    key = flow_control("flow_crowd").set(parallelism=1, rate=1000)
    run = crowd.trigger()

    assert finished(run)
    assert (key.parallelism, key.rate, key.is_pinned) == (1, 1000, True)

    key.reset()
    assert finished(crowd.trigger())
    assert (key.parallelism, key.rate, key.is_pinned) == (2, None, False)


def test_step_in_line_tells_why_and_where(crew: Threads) -> None:
    gate = Gate()
    bodies.during["held"] = gate.hold
    one.trigger("held")
    holder = crew.start(drain)
    gate.await_arrival()
    waiting = [one.trigger("next"), one.trigger("last")]

    reasons = [run.reason for run in Run.objects.filter(payload_text__in=['"next"', '"last"']).with_reason().order_by("created_at")]  # fmt: skip
    assert reasons == [
        f'waits for a slot of flow control "flow_one" (place {place} of 2; parallelism 1)'
        for place in (1, 2)
    ]
    gate.open()
    holder.result(30)
    for run in waiting:
        finished(run)
    assert not Step.objects.filter(sequence=None).exists()


def test_cancelling_the_holder_lets_the_next_begin(crew: Threads) -> None:
    gate = Gate()
    bodies.during["first"] = gate.hold
    first, second = one.trigger("first"), one.trigger("second")
    holder = crew.start(drain)
    gate.await_arrival()

    first.cancel()
    crew.start(partial(drain)).result(30)
    gate.open()
    holder.result(30)

    assert finished(second).result == "second"
