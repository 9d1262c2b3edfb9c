"""Steps of a fan-out that one worker has claimed together: recorded at once, and yet each by itself."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from functools import partial
from threading import Event
from time import monotonic
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction

from django_workflow import AsyncWorkflowContext, WorkflowContext, current_step, workflow
from django_workflow.core.exceptions import RunStateError
from django_workflow.models import Attempt, Delivery, Step
from django_workflow.runtime import kept_back, leases, together
from django_workflow.runtime.worker import drain, stopping
from django_workflow.signals import step_completed
from django_workflow.store import claims, records
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
)
from tests.store.made import PAST

pytestmark = pytest.mark.django_db(transaction=True)

NAMES = ["a", "b", "c", "d", "e", "f"]


@workflow(name="together_six", retries=0)
def six(ctx: WorkflowContext[Any]) -> list[int]:
    branches = [partial(ctx.run, name, bodies, name) for name in NAMES]
    return [*ctx.parallel(*branches)]


@workflow(name="together_six_async", retries=0)
async def six_async(ctx: AsyncWorkflowContext[Any]) -> list[int]:
    branches = [partial(ctx.run, name, bodies, name) for name in NAMES]
    return [*await ctx.parallel(*branches)]


@workflow(name="together_retried", retries=1, retry_delay=0)
def retried(ctx: WorkflowContext[Any]) -> list[int]:
    return [*ctx.parallel(*[partial(ctx.run, name, bodies, name) for name in NAMES])]


@workflow(name="together_mixed")
def mixed(ctx: WorkflowContext[Any]) -> tuple[Any, ...]:
    def note() -> int:
        return Note.objects.create(text=bodies("note")).pk

    def telling() -> int:
        current_step().log("from the body")
        return bodies("telling")

    return ctx.parallel(
        lambda: ctx.run("a", bodies, "a"),
        lambda: ctx.atomic("note", note),
        lambda: ctx.run("telling", telling),
        lambda: [ctx.run("b", bodies, "b"), ctx.run("c", bodies, "c")],
    )


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep results back until the last body of the batch has ended, and hand nothing on, however slow the machine is."""
    monkeypatch.setattr(leases, "PATIENCE_SECONDS", 60.0)
    monkeypatch.setattr(kept_back, "WRITTEN_WITHIN", 60.0)


def statements() -> tuple[Counter[str], Any]:
    """Return a counter of what goes to the database, and its wrapper."""
    counted: Counter[str] = Counter()

    def wrapper(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if "result_text, failure_text, attempts, delivered, wake_at, finished_at, id" in sql:
            counted["loads"] += 1
        return execute(sql, params, many, context)

    return counted, connection.execute_wrapper(wrapper)


@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize("workflow", [six, six_async], ids=["sync", "async"])
def test_a_batch_is_loaded_once_and_recorded_at_once(
    workflow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[list[str]] = []

    def recorded(ended: Any) -> Any:
        batches.append([row.key for _, row in ended])
        return record_together(ended)

    record_together = records.record_together
    monkeypatch.setattr(records, "record_together", recorded)
    run = workflow.trigger()
    counted, counting = statements()

    with counting:
        drain()

    assert finished(run).result == [1] * 6
    assert [len(batch) for batch in batches] == [6]
    # The turn's for its second pass, and that of the six.
    assert counted["loads"] == 2
    assert sorted(step.sequence for step in Step.objects.all()) == [1, 2, 3, 4, 5, 6]
    assert bodies.calls == dict.fromkeys(NAMES, 1)


@pytest.mark.usefixtures("unhurried")
def test_what_has_ended_is_told_once_each() -> None:
    told: list[str] = []

    def hear(sender: Any, step: Step, **given: Any) -> None:
        assert step.sequence is not None
        told.append(step.name)

    step_completed.connect(hear)
    try:
        finished(six.trigger())
    finally:
        step_completed.disconnect(hear)

    assert told == NAMES


def test_a_slow_body_holds_no_result_back(crew: Threads) -> None:
    run = six.trigger()
    gate, working = held_in(crew, "c")

    begun = monotonic()
    eventually(lambda: Step.objects.filter(sequence__isnull=False).count() >= 2)
    # By the keeper, while the thread is held in the third body; the others are handed on, and taken by whoever comes.
    assert monotonic() - begun < PATIENCE_SECONDS / 2
    assert Step.objects.get(name="a").sequence
    assert Step.objects.get(name="b").sequence
    eventually(
        lambda: not Delivery.objects.exclude(leased_by="").exclude(step_key="p1.2/c").exists()
    )

    gate.open()
    working.result(PATIENCE_SECONDS)
    assert finished(run).result == [1] * 6
    assert bodies.calls == dict.fromkeys(NAMES, 1)


@pytest.mark.usefixtures("unhurried")
def test_being_taken_over_concerns_one_step_alone(crew: Threads) -> None:
    run = six.trigger()
    gate, working = held_in(crew, "f")
    taken = Delivery.objects.get(step_key="p1.1/b")
    Delivery.objects.filter(pk=taken.pk).update(token=taken.token + 1, leased_by="another")
    gate.open()
    working.result(PATIENCE_SECONDS)

    recorded = {step.name for step in Step.objects.filter(sequence__isnull=False)}
    assert recorded == {*NAMES} - {"b"}
    late = Attempt.objects.get()
    assert (late.step_key, late.outcome, late.result_text) == ("p1.1/b", "late", "1")
    expire_leases(run.id)
    del bodies.during["f"]
    assert finished(run).result == [1, 2, 1, 1, 1, 1]


@pytest.mark.usefixtures("unhurried")
def test_a_run_that_is_cancelled_meanwhile_records_nothing(crew: Threads) -> None:
    run = six.trigger()
    gate, working = held_in(crew, "f")
    run.cancel()
    gate.open()
    working.result(PATIENCE_SECONDS)
    drain()

    assert run.refresh().status == "cancelled"
    assert not Step.objects.filter(sequence__isnull=False).exists()
    assert not Delivery.objects.exists()


@pytest.mark.usefixtures("unhurried")
def test_a_body_that_raises_is_put_off_alone() -> None:
    raised = iter([ValueError("once")])

    def fail_once() -> None:
        for error in raised:
            raise error

    bodies.during["c"] = fail_once
    run = retried.trigger()

    assert finished(run).result == [1, 1, 2, 1, 1, 1]
    assert [attempt.step_key for attempt in Attempt.objects.all()] == ["p1.2/c"]


@pytest.mark.usefixtures("unhurried")
def test_what_says_something_or_writes_by_itself_is_recorded_by_itself() -> None:
    run = mixed.trigger()

    finished(run)

    assert Note.objects.count() == 1
    assert [line.message for line in run.logs.all()] == ["from the body"]
    assert bodies.calls == dict.fromkeys(["a", "note", "telling", "b", "c"], 1)


@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize(
    ("error", "trouble"),
    [
        (OperationalError("gone away"), "The database did not answer: gone away"),
        (RuntimeError("broken"), "The delivery went wrong: RuntimeError: broken"),
    ],
)
def test_whatever_their_record_raises_puts_all_of_them_off(
    error: Exception, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raise_it(ended: Any) -> Any:
        raise error

    run = six.trigger()
    with monkeypatch.context() as patched:
        patched.setattr(records, "record_together", raise_it)
        drain()

    waiting = Delivery.objects.exclude(step_key="")
    assert {one.trouble for one in waiting} == {trouble}
    assert waiting.count() == 6
    waiting.update(due_at=PAST)
    assert finished(run).result == [2] * 6


@pytest.mark.usefixtures("unhurried")
def test_a_process_that_is_told_to_stop_records_what_has_ended() -> None:
    run = six.trigger()
    bodies.during["c"] = stopping.set
    try:
        drain()
    finally:
        stopping.clear()

    assert {step.name for step in Step.objects.filter(sequence__isnull=False)} == {"a", "b", "c"}
    assert not Delivery.objects.exclude(leased_by="").exists()
    assert {one.tries for one in Delivery.objects.exclude(step_key="")} == {0}
    assert finished(run).result == [1] * 6
    assert bodies.calls == dict.fromkeys(NAMES, 1)


def test_two_workers_share_a_fan_out(crew: Threads) -> None:
    for _ in range(5):
        bodies.clear()
        run = six.trigger()
        crew.together(drain, drain, drain)
        assert finished(run).result == [1] * 6
        assert bodies.calls == dict.fromkeys(NAMES, 1)


@pytest.mark.no_sqlite
@pytest.mark.usefixtures("unhurried")
def test_who_locks_the_run_meanwhile_waits_and_stops_nobody(crew: Threads) -> None:
    def cancel() -> None:
        # Where it got its locks after the run's very end, it is too late.
        with suppress(RunStateError):
            run.cancel()

    run = six.trigger()
    gate, working = held_in(crew, "f")
    with transaction.atomic():
        # In the middle, whatever the order in which somebody comes by: who has begun from one end waits here.
        Delivery.objects.select_for_update().get(step_key="p1.2/c")
        gate.open()
        Event().wait(0.3)
        cancelling = crew.start(cancel)
        Event().wait(0.3)
    working.result(PATIENCE_SECONDS)
    cancelling.result(PATIENCE_SECONDS)

    assert run.refresh().status in {"cancelled", "completed"}
    assert Step.objects.filter(sequence__isnull=False).count() == 6
    assert bodies.calls == dict.fromkeys(NAMES, 1)


@pytest.mark.usefixtures("unhurried")
def test_a_lost_connection_loses_the_results_that_waited_for_it_and_no_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write, lost = records.record_together, iter([True])

    def dropped_once(ended: Any) -> Any:
        for _ in lost:
            connection.close()
            connection.errors_occurred = True
            raise OperationalError("the connection is closed")
        return write(ended)

    monkeypatch.setattr(records, "record_together", dropped_once)
    # Each result by itself, so that the first one is lost with its connection.
    monkeypatch.setattr(kept_back, "WRITTEN_WITHIN", 0.0)
    run = six.trigger()
    drain()

    waiting = Delivery.objects.exclude(step_key="")
    assert [one.trouble for one in waiting] == [
        "The database did not answer: the connection is closed"
    ]
    waiting.update(due_at=PAST)
    assert finished(run).result == [2, 1, 1, 1, 1, 1]


def test_what_the_keeper_cannot_write_is_put_off_while_the_body_runs(
    crew: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(ended: Any) -> Any:
        raise OperationalError("gone away")

    run = six.trigger()
    gate = Gate()
    bodies.during["c"] = gate.hold
    with monkeypatch.context() as patched:
        patched.setattr(records, "record_together", away)
        working = crew.start(drain)
        gate.await_arrival()
        eventually(lambda: Delivery.objects.filter(trouble__contains="gone away").count() == 2)
        gate.open()
        working.result(PATIENCE_SECONDS)
    Delivery.objects.exclude(step_key="").update(due_at=PAST)

    assert sorted(finished(run).result) in ([1, 1, 1, 1, 2, 2], [1, 1, 1, 2, 2, 2], [2] * 6)


@workflow(name="together_overtime", retries=1, retry_delay="1h")
def overtime(ctx: WorkflowContext[Any]) -> list[int]:
    def branch(name: str) -> int:
        if name == "a":
            return ctx.using(timeout=0.04).run("a", bodies, "a")
        return ctx.run(name, bodies, name)

    return [*ctx.parallel(*[partial(branch, name) for name in NAMES])]


@pytest.mark.usefixtures("unhurried")
def test_after_a_step_that_lost_its_claim_the_others_find_their_attempts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found: dict[str, bool] = {}
    execute = together._Performer.execute

    def seen(performer: Any, step: Any, record: Any, markers: Any) -> Any:
        found[step.name] = record is not None
        return execute(performer, step, record, markers)

    monkeypatch.setattr(together._Performer, "execute", seen)
    raised = iter([ValueError("once")])

    def fail_once() -> None:
        for error in raised:
            raise error

    bodies.during["a"] = lambda: Event().wait(0.2) if bodies.calls["a"] == 1 else None
    bodies.during["d"] = fail_once
    run = overtime.trigger()

    drain()

    assert found == dict.fromkeys(NAMES, True)
    assert {one.step_key for one in Delivery.objects.filter(due_at__isnull=False)} == {
        "p1.0/a",
        "p1.3/d",
    }
    Step.objects.filter(status="retrying").update(wake_at=PAST)
    Delivery.objects.filter(due_at__isnull=False).update(due_at=PAST)
    finished(run)
    assert bodies.calls == {**dict.fromkeys(NAMES, 1), "a": 2, "d": 2}


@pytest.mark.django_db(transaction=False)
def test_in_the_transaction_of_a_test_everything_is_recorded() -> None:
    bodies.during["b"] = lambda: Event().wait(0.05)

    assert finished(six.trigger()).result == [1] * 6
    assert not Attempt.objects.exists()


@workflow(name="together_sharing")
def sharing(ctx: WorkflowContext[Any]) -> list[Any]:
    seen: list[int] = []

    def first() -> None:
        seen.append(ctx.run("a", bodies, "a"))

    def second() -> int:
        ctx.run("b1", bodies, "b1")
        return ctx.run("b2", bodies, "b2") if seen else 0

    return [*ctx.parallel(first, second, lambda: ctx.sleep("nap", "1h"))]


def test_a_branch_that_goes_by_what_another_has_left_comes_to_its_step() -> None:
    run = sharing.trigger()

    drain(seconds=5)

    assert bodies.calls == {"a": 1, "b1": 1, "b2": 1}
    assert not Delivery.objects.filter(due_at__lte=claims.now()).exists()
    Step.objects.filter(name="nap").update(wake_at=PAST)
    Delivery.objects.filter(run_id=run.id).update(due_at=PAST)
    assert finished(run).result == [None, 1, None]
