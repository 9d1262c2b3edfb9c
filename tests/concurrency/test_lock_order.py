"""Features that lock the same rows: in one order, so that of two who meet one waits, and no database has to choose."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Event as Flag
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import Model, Q

from django_workflow.core.types import RunStatus
from django_workflow.models import (
    Delivery,
    Event,
    FlowKey,
    FlowTicket,
    Run,
    Step,
    Waiter,
    Webhook,
)
from django_workflow.store import (
    claims,
    completions,
    deletion,
    events,
    flow,
    records,
    repeating,
    runs,
    triggers,
    webhooks,
)
from tests.concurrency.together import Threads
from tests.store.made import FAILURE, PAST, completed, new_run

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.no_sqlite]


@pytest.fixture(autouse=True)
def at_the_first_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeating, "TRIES", 1)


class Stop:
    """Holds a thread before its n-th statement that begins in one way, until another has come as far as it can."""

    def __init__(self, start: str, number: int = 1) -> None:
        self.start, self.left = start, number
        self.came, self.go_on = Flag(), Flag()

    def __call__(self, execute: Any, sql: Any, params: Any, many: Any, context: Any) -> Any:
        if str(sql).lstrip().startswith(self.start):
            self.left -= 1
            if self.left == 0:
                self.came.set()
                assert self.go_on.wait(30)
        return execute(sql, params, many, context)


def meet(crew: Threads, first: Callable[[], Any], stop: Stop, second: Callable[[], Any]) -> Any:
    """Let the first come to its stop, then the second to its end or to a lock, and then both go on."""

    def held() -> Any:
        with connection.execute_wrapper(stop):
            return first()

    one = crew.start(held)
    assert stop.came.wait(30)
    done = Flag()

    def free() -> Any:
        try:
            return second()
        finally:
            done.set()

    two = crew.start(free)
    done.wait(0.3)
    stop.go_on.set()
    return one.result(30), two.result(30)


def failed(*run_ids: str) -> None:
    triggers.insert([new_run(run_id) for run_id in run_ids])
    for claim in claims.claim("worker", len(run_ids), only=run_ids):
        assert runs.end_badly(claim, RunStatus.FAILED, FAILURE)


def lock_in_turn(
    crew: Threads, locks: Sequence[Callable[[], Any]], other: Callable[[], Any]
) -> Any:
    """Take locks one after the other in a transaction, and let another come in after the first; return what it does."""
    first, go_on = Flag(), Flag()

    def lock() -> None:
        with transaction.atomic():
            locks[0]()
            first.set()
            assert go_on.wait(30)
            for take in locks[1:]:
                take()

    locking = crew.start(lock)
    assert first.wait(30)
    done = crew.start(other)
    # Long enough to come to a lock; should it not, the two do not meet, and the test is none.
    Flag().wait(0.3)
    go_on.set()
    locking.result(30)
    return done.result(30)


def lock_row(of: Model) -> Callable[[], Any]:
    return lambda: type(of)._base_manager.select_for_update().get(pk=of.pk)


def test_renewing_two_steps_of_a_run_meets_who_locks_the_run(crew: Threads) -> None:
    triggers.insert([new_run("run-1")])
    # By id one way round, by key the other.
    for key in ("a", "b"):
        Delivery.objects.create(run_id="run-1", step_key=key, leased_by="w", due_at=PAST)
    steps = Delivery.objects.exclude(step_key="")
    held = [(one.pk, one.token) for one in steps]

    as_lock_deliveries = [lock_row(one) for one in steps.order_by("-step_key")]

    assert lock_in_turn(crew, as_lock_deliveries, lambda: claims.renew(held)) == 2


def test_broadcast_to_dead_letters_meets_who_deletes_them(crew: Threads) -> None:
    # Turns in the order of z, a; ids of runs the other way round.
    failed("z")
    failed("a")
    for run_id in ("z", "a"):
        Step.objects.create(
            run_id=run_id, key="w", name="w", branch="", kind="wait_for_event", status="waiting",
            created_at=PAST,
        )  # fmt: skip
        Waiter.objects.create(
            run_id=run_id, step_key="w", event_id="e", needed=1, position=0, created_at=PAST
        )
    sent = events.send(events.NewEvent("e", "1")).pk

    crew.together(
        *[lambda: events.match(sent)] * 2, *[lambda: deletion.prune(["a", "z"], Q(), by=None)] * 2
    )

    assert not Run.objects.exists()


def test_turns_of_several_runs_are_locked_by_their_ids(crew: Threads) -> None:
    failed("z")
    failed("a")

    as_a_match = [lock_row(turn) for turn in Delivery.objects.order_by("pk")]

    assert lock_in_turn(crew, as_a_match, lambda: deletion.prune(["a", "z"], Q(), by=None)) == 2


@pytest.mark.parametrize("what", ["sleeps", "ends"])
def test_what_is_written_for_several_turns_locks_them_by_their_ids(
    crew: Threads, what: str
) -> None:
    triggers.insert([new_run("z"), new_run("a"), new_run("m")])
    held = sorted(claims.claim("worker", 3), key=lambda claim: claim.run_id)
    # On the disk they stand the other way round, too.
    for turn in Delivery.objects.order_by("-pk"):
        Delivery.objects.filter(pk=turn.pk).update(tries=1)
    as_a_match = [lock_row(turn) for turn in Delivery.objects.order_by("pk")]
    written = {
        "sleeps": lambda: records.record_of_turns([(claim, completed("rest")) for claim in held]),
        "ends": lambda: completions.complete_together([(claim, "1") for claim in held]),
    }

    done = lock_in_turn(crew, as_a_match, written[what])

    assert len(done) == 3
    assert all(done)


def test_call_of_a_webhook_meets_who_deletes_its_dead_letter(crew: Threads) -> None:
    failed("run-1")
    webhook = Webhook.objects.create(
        run_id="run-1", step_key="h", event_id="h-1", digest="d", created_at=PAST
    )
    stop = Stop("UPDATE")

    _, deleted = meet(
        crew,
        lambda: webhooks.keep_call(webhook, "1", 10),
        stop,
        lambda: deletion.prune(["run-1"], Q(), by=None),
    )

    assert deleted == 1
    assert not Event.objects.exists()


def test_call_of_a_webhook_whose_run_is_being_deleted_is_refused(crew: Threads) -> None:
    failed("run-1")
    webhook = Webhook.objects.create(
        run_id="run-1", step_key="h", event_id="h-1", digest="d", created_at=PAST
    )

    def call() -> bool:
        try:
            webhooks.keep_call(webhook, "1", 10)
        except webhooks.CallRefusedError:
            return False
        return True

    deleted, was_kept = meet(
        crew,
        lambda: deletion.prune(["run-1"], Q(), by=None),
        Stop("DELETE"),
        call,
    )

    assert deleted == 1
    assert not was_kept


def test_who_cancels_two_branches_in_line_meets_who_gives_their_slots(crew: Threads) -> None:
    triggers.insert([new_run("run-1")])
    [claim] = claims.claim("worker", 1, only=["run-1"])
    key = FlowKey.objects.create(key="k", parallelism=5, period_ms=1000)
    tickets = [
        FlowTicket.objects.create(
            run_id="run-1", step_key=step, flow_key=key.pk, state="waiting", priority=priority,
            delivery_id=claim.delivery_id, created_at=PAST,
        )
        for step, priority in (("a", 0), ("b", 9))
    ]  # fmt: skip

    as_a_cancel = [ticket.delete for ticket in tickets]

    assert lock_in_turn(crew, as_a_cancel, lambda: flow.settle("k")) is not None
    assert not FlowTicket.objects.exists()
