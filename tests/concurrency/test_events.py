"""Waits, events and timeouts that meet: one outcome each, whoever commits last, and nothing is lost."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from random import Random
from typing import Any

import pytest
from django.db import connection, transaction

from django_workflow import WorkflowContext, notify, workflow
from django_workflow.models import Delivery, Event, Run, Step, Waiter
from django_workflow.runtime.sweeper import sweep
from django_workflow.runtime.waiting import elapse_wait, match_waiting
from django_workflow.runtime.worker import drain
from django_workflow.store import claims, records, triggers, waits
from django_workflow.store.rows import Awaited, Claim, StepRow
from tests.concurrency.together import Gate, Threads, finished
from tests.store.made import PAST, new_run, pending

pytestmark = pytest.mark.django_db(transaction=True)

INTERLEAVINGS = int(os.environ.get("WORKFLOW_TESTS_INTERLEAVINGS", "400"))
BATCH = 50


@workflow(name="events_wait")
def waits_once(ctx: WorkflowContext[Any]) -> Any:
    got = ctx.wait_for_event("got", ctx.request_payload, timeout="1h")
    return "timed out" if got.timed_out else got.event_data


@workflow(name="events_loop")
def waits_often(ctx: WorkflowContext[Any]) -> list[Any]:
    return [ctx.wait_for_event("got", "again", timeout="1h").event_data for _ in range(10)]


def waiting_step(event_id: str) -> StepRow:
    return pending(
        "got",
        status="waiting",
        kind="wait_for_event",
        wakes_in=timedelta(hours=1),
        awaits=Awaited((event_id,), 1),
    )


def claimed_run(run_id: str) -> Claim:
    triggers.insert([new_run(run_id)])
    [claim] = claims.claim("worker", 1, only=[run_id])
    return claim


def wait(claim: Claim, event_id: str) -> None:
    """Register a wait and look in the mailbox, as the executor does."""
    waits.wait(claim, [waiting_step(event_id)])
    match_waiting(claim.run_id)


def time_passes(run_id: str) -> None:
    """Let the time of a run's wait be over, and have a worker see it."""
    Step.objects.filter(run_id=run_id, sequence=None).update(wake_at=PAST)
    Delivery.objects.filter(run_id=run_id, leased_by="").update(due_at=PAST)
    for claim in claims.claim("clock", 1, only=[run_id]):
        for record in records.load(run_id):
            if record.sequence is None and record.is_timer:
                elapse_wait(claim, record)
        claims.give_back(claim)


@pytest.mark.pg_only
def test_notify_whose_transaction_stays_open_across_the_waits_commit_reaches_it(
    crew: Threads,
) -> None:
    claim, gate = claimed_run("run"), Gate()

    def send() -> int | None:
        with transaction.atomic():
            event = notify("go", 1)
            gate.hold()
        reached: int | None = event.reached
        return reached

    sending = crew.start(send)
    gate.await_arrival()
    wait(claim, "go")
    assert Step.objects.get().sequence is None
    gate.open()

    assert sending.result(30) == 1
    assert Step.objects.get().result["events"] == [{"event_id": "go", "event_data": 1}]


@pytest.mark.pg_only
def test_wait_whose_transaction_stays_open_across_the_notifys_commit_finds_the_event(
    crew: Threads,
) -> None:
    claim, gate = claimed_run("run"), Gate()

    def register() -> None:
        with transaction.atomic():
            waits.wait(claim, [waiting_step("go")])
            gate.hold()
        match_waiting("run")

    registering = crew.start(register)
    gate.await_arrival()
    assert notify("go", 1).reached == 0
    gate.open()
    registering.result(30)

    assert Step.objects.get().result["timed_out"] is False
    assert Event.objects.get().reached == 1


@pytest.mark.pg_only
def test_event_that_waits_for_a_timeouts_transaction_loses_to_it_and_is_kept(
    crew: Threads,
) -> None:
    wait(claimed_run("run"), "go")
    gate = Gate()

    def pass_time() -> None:
        with transaction.atomic():
            time_passes("run")
            gate.hold()

    passing = crew.start(pass_time)
    gate.await_arrival()
    sending = crew.start(lambda: notify("go", 1).reached)
    gate.open()
    passing.result(30)

    assert sending.result(30) == 0
    assert Step.objects.get().result == {"timed_out": True, "events": []}
    assert Event.objects.get().matched_at is None


@pytest.mark.parametrize("time", range(10))
def test_wait_and_notify_at_one_moment_find_each_other(time: int, crew: Threads) -> None:
    run = waits_once.trigger("go")

    crew.together(drain, partial(notify, "go", 1), drain)

    assert finished(run).result == 1
    assert Event.objects.get().reached == 1


@pytest.mark.parametrize("time", range(10))
def test_timeout_and_event_at_one_moment_have_one_outcome(time: int, crew: Threads) -> None:
    run = waits_once.trigger("go")
    drain()
    Step.objects.update(wake_at=PAST)
    Delivery.objects.update(due_at=PAST)

    crew.together(drain, partial(notify, "go", 1), drain)

    result = finished(run).result
    event = Event.objects.get()
    assert (result, event.reached, event.matched_at is None) in [
        (1, 1, False),
        ("timed out", 0, True),
    ]


def test_two_waits_for_one_kept_event_share_nothing(crew: Threads) -> None:
    notify("go", 1)
    first, second = waits_once.trigger("go"), waits_once.trigger("go")

    crew.together(drain, drain)

    # Both when they met in its match, else the first one alone; and then the other takes the next.
    notify("go", 1)
    assert (finished(first).result, finished(second).result) == (1, 1)


def test_events_sent_by_many_reach_a_loop_once_each(crew: Threads) -> None:
    run = waits_often.trigger()

    crew.together(*[partial(notify, "again", number) for number in range(10)], drain, drain)

    assert sorted(finished(run).result) == list(range(10))
    assert set(Event.objects.values_list("reached", flat=True)) == {1}


def test_broadcasts_to_the_same_runs_from_two_sides_do_not_lock_each_other_out(
    crew: Threads,
) -> None:
    made = [waits_once.trigger("go") for _ in range(40)]
    drain()

    crew.together(partial(notify, "go", 1), partial(notify, "go", 1), drain, drain)

    assert {finished(run).result for run in made} == {1}


def test_process_that_dies_between_commit_and_matching_is_covered_by_the_sweep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = waits_once.trigger("go")
    drain()
    with monkeypatch.context() as dying:
        dying.setattr(transaction, "on_commit", lambda *args, **options: None)
        event = notify("go", 1)
    drain()
    assert run.refresh().status == "running"

    sweep(force=True)

    assert finished(run).result == 1
    event.refresh_from_db()
    assert event.reached == 1


class Round:
    """Fifty runs; each waits, gets an event or two, and its time is over, in an order that chance decides."""

    def __init__(self, random: Random, number: int) -> None:
        self.random = random
        self.ids = [f"run-{number}-{index}" for index in range(BATCH)]
        triggers.insert([new_run(run_id) for run_id in self.ids])
        found = claims.claim("worker", BATCH, only=self.ids)
        self.claims = {claim.run_id: claim for claim in found}

    def acts(self) -> list[list[Callable[[], object]]]:
        """Return what each of four threads does."""
        lines: list[list[Callable[[], object]]] = [[] for _ in range(4)]
        acts: list[tuple[float, int, Callable[[], object]]] = []
        for index, run_id in enumerate(self.ids):
            near = [index + self.random.uniform(-1.5, 1.5) for _ in range(4)]
            claim = self.claims[run_id]
            acts.append((near[0], self.random.randrange(4), partial(wait, claim, run_id)))
            acts.append((near[1], self.random.randrange(4), partial(self.send, run_id)))
            if self.random.random() < 0.3:
                acts.append((near[2], self.random.randrange(4), partial(self.send, run_id)))
            if self.random.random() < 0.6:
                acts.append((near[3], self.random.randrange(4), partial(time_passes, run_id)))
        for _, line, act in sorted(acts, key=lambda one: one[0]):
            lines[line].append(act)
        return lines

    def send(self, run_id: str) -> None:
        """Send an event in a transaction that stays open for a while, as far as the database lets others in."""
        with transaction.atomic():
            notify(run_id, "data")
            with connection.cursor() as cursor:
                for _ in range(self.random.randrange(4)):
                    cursor.execute("SELECT 1")

    def judged(self) -> list[str]:
        """Return what is wrong; looked at before any sweep."""
        steps = {step.run_id: step for step in Step.objects.filter(run_id__in=self.ids)}
        wrong = [
            f"{run_id}: has no outcome" for run_id in self.ids if not steps[run_id].is_recorded
        ]
        for run_id, step in steps.items():
            sent = list(Event.objects.filter(event_id=run_id).values_list("reached", "matched_at"))
            spent = [reached for reached, matched in sent if matched is not None]
            expected = [] if step.result is None or step.result["timed_out"] else [1]
            if spent != expected or any(reached is None for reached, _ in sent):
                wrong.append(f"{run_id}: {step.result_text} but events {sent}")
            turn = Delivery.objects.get(run_id=run_id)
            if turn.wakes < (step.sequence or 0):
                wrong.append(f"{run_id}: has number {step.sequence} of {turn.wakes}")
        return wrong


@pytest.mark.serial
@pytest.mark.timeout(max(900, INTERLEAVINGS // 2))
def test_random_interleavings_of_wait_notify_and_timeout_lose_and_double_nothing(
    crew: Threads,
) -> None:
    random = Random(20_261_120)
    wrong: list[str] = []
    outcomes: set[bool] = set()

    for number in range(INTERLEAVINGS // BATCH):
        played = Round(random, number)
        crew.together(*[partial(act_all, line) for line in played.acts()])
        wrong += played.judged()
        found = Step.objects.filter(run_id__in=played.ids)
        outcomes |= {step.result["timed_out"] for step in found if step.is_recorded}
        assert not Waiter.objects.exists()
        Event.objects.all().delete()
        Run.objects.all().delete()

    assert wrong == []
    assert outcomes == {True, False}


def act_all(acts: list[Callable[[], object]]) -> None:
    for act in acts:
        act()
