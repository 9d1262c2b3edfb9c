"""Events and waits: sent, matched, timed out; one outcome, in the order of numbers, and nothing lost."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from django_workflow import InvalidOptionError, PayloadTooLargeError, RunNotFoundError, notify
from django_workflow.core.exceptions import DeliveryFencedError
from django_workflow.models import Delivery, Event, Step, Waiter
from django_workflow.runtime.step_rows import elapsed_row
from django_workflow.runtime.sweeper import sweep
from django_workflow.runtime.waiting import elapse_wait, match_event, match_untried, match_waiting
from django_workflow.store import claims, events, records, runs, triggers, waits
from django_workflow.store.events import NewEvent
from django_workflow.store.rows import Claim, StepRow
from tests.store.made import (
    PAST,
    awaiting,
    claimed,
    insert,
    is_due,
    new_run,
    the_run,
    the_step,
    the_turn,
)

pytestmark = pytest.mark.django_db

GOT = {"timed_out": False, "events": [{"event_id": "go", "event_data": 1}]}
MISSED = {"timed_out": True, "events": []}


def a_run_waits(run_id: str = "run-1", *rows: StepRow) -> None:
    """Insert a run that waits."""
    waits.wait(claimed(run_id), rows or [awaiting("a")])


def sent(data: str = "1", event_id: str = "go", **fields: Any) -> Event:
    """Insert an event that nobody has tried to match."""
    return events.send(NewEvent(event_id, data, **fields))


def turn_of_the_waiting(run_id: str = "run-1") -> Claim:
    """Claim the turn of a run whose wait is over by now."""
    Step.objects.filter(run_id=run_id).update(wake_at=PAST)
    Delivery.objects.filter(run_id=run_id).update(due_at=PAST)
    [claim] = claims.claim("worker", 1)
    return claim


def test_event_records_the_wait_with_the_next_number_and_wakes_the_turn() -> None:
    a_run_waits()
    assert not is_due(the_turn())

    reached = events.match(sent().pk)

    assert reached == {"run-1"}
    assert the_step("a").result == GOT
    assert the_step("a").sequence == the_turn().wakes == 1
    assert the_step("a").finished_at is not None
    assert is_due(the_turn())
    assert not Waiter.objects.exists()


def test_event_leaves_a_held_turn_to_its_holder_whose_counter_has_moved() -> None:
    a_run_waits()
    claim = turn_of_the_waiting()
    held_until = the_turn().due_at

    events.match(sent().pk)

    assert (the_turn().leased_by, the_turn().due_at) == ("worker", held_until)
    claims.give_back(claim)
    assert is_due(the_turn())


def test_two_waits_of_one_run_get_numbers_of_their_own() -> None:
    a_run_waits("run-1", awaiting("a"), awaiting("b"))

    assert events.match(sent().pk) == {"run-1"}

    assert [the_step("a").sequence, the_step("b").sequence] == [1, 2]
    assert the_turn().wakes == 2


def test_spent_event_is_not_matched_again() -> None:
    a_run_waits()
    event = sent()
    events.match(event.pk)
    claims.claim("worker", 1)
    a_run_waits("run-2")

    assert events.match(event.pk) == set()
    assert the_step("a", "run-2").sequence is None


def test_event_that_reached_nobody_is_kept_for_the_first_wait() -> None:
    event = sent()
    events.match(event.pk)
    event.refresh_from_db()
    assert (event.matched_at, event.reached) == (None, 0)
    a_run_waits()

    match_waiting("run-1")

    event.refresh_from_db()
    assert event.matched_at is not None
    assert event.reached == 1
    assert the_step("a").result == GOT


def test_event_that_is_not_to_be_kept_is_spent_at_once() -> None:
    event = sent(keep=False)
    events.match(event.pk)
    a_run_waits()

    match_waiting("run-1")

    event.refresh_from_db()
    assert event.matched_at is not None
    assert event.reached == 0
    assert the_step("a").sequence is None


def test_kept_events_are_taken_in_the_order_of_arrival() -> None:
    first, second = sent("1"), sent("2")
    events.match(second.pk)
    events.match(first.pk)
    a_run_waits()

    match_waiting("run-1")

    assert the_step("a").result == GOT
    second.refresh_from_db()
    assert second.matched_at is None


def test_event_behind_one_that_nobody_has_tried_lets_it_go_first() -> None:
    sent("1")
    a_run_waits()

    notify_now("go", 2)

    assert the_step("a").result == GOT


def notify_now(event_id: str, data: Any) -> Event:
    """Send an event, and match it as a commit would do."""
    event: Event = notify(event_id, data)
    match_event(event)
    return event


def test_expired_event_reaches_nobody_and_is_deleted() -> None:
    event = sent()
    Event.objects.update(expires_at=PAST)
    a_run_waits()

    match_waiting("run-1")
    assert the_step("a").sequence is None

    sweep(force=True)
    assert not Event.objects.filter(pk=event.pk).exists()


def test_lookback_limits_the_age_of_kept_events_alone() -> None:
    kept = sent("1")
    events.match(kept.pk)
    Event.objects.update(created_at=PAST)
    a_run_waits("run-1", awaiting("a", lookback=timedelta(hours=1)))
    match_waiting("run-1")
    assert the_step("a").sequence is None
    slow = sent("1")
    Event.objects.filter(pk=slow.pk).update(created_at=PAST)

    events.match(slow.pk)

    assert the_step("a").result == GOT


def test_timeout_is_recorded_and_an_event_after_it_stays_in_the_mailbox() -> None:
    a_run_waits()
    claim = turn_of_the_waiting()
    done = elapse_wait(claim, records.load("run-1")[0])
    assert done is not None

    event = sent()
    assert events.match(event.pk) == set()

    event.refresh_from_db()
    assert event.matched_at is None
    assert the_step("a").result == MISSED
    assert the_step("a").sequence == done.sequence == claim.wakes
    assert not Waiter.objects.exists()


def test_timeout_that_loses_to_an_event_writes_nothing() -> None:
    a_run_waits()
    claim = turn_of_the_waiting()
    timer = records.load("run-1")[0]
    events.match(sent().pk)

    assert events.time_out(claim, elapsed_row(timer)) is None

    assert the_step("a").result == GOT
    assert the_step("a").sequence == 1
    claims.give_back(claim)
    assert is_due(the_turn())


def test_event_that_was_kept_before_the_timeout_counts_though_nobody_was_alive_to_match_it() -> (
    None
):
    a_run_waits()
    sent()
    claim = turn_of_the_waiting()

    assert elapse_wait(claim, records.load("run-1")[0]) is None

    assert the_step("a").result == GOT


def test_timeout_under_a_stale_token_is_refused() -> None:
    a_run_waits()
    claim = turn_of_the_waiting()
    timer = records.load("run-1")[0]
    claims.take_over(claim)
    claim.token -= 1

    with pytest.raises(DeliveryFencedError):
        events.time_out(claim, elapsed_row(timer))

    assert the_step("a").sequence is None
    assert Waiter.objects.count() == 1


def test_each_event_fills_one_of_several_and_the_last_one_needed_records() -> None:
    a_run_waits("run-1", awaiting("a", "x", "y", "z", needed=2))

    assert events.match(sent("1", "z").pk) == {"run-1"}
    assert events.match(sent("2", "z").pk) == set()
    assert the_step("a").sequence is None
    assert events.match(sent("3", "x").pk) == {"run-1"}

    arrived = the_step("a").result["events"]
    assert [(one["event_id"], one["event_data"]) for one in arrived] == [("z", 1), ("x", 3)]
    assert not Waiter.objects.exists()


def test_timeout_tells_what_has_arrived_of_several() -> None:
    a_run_waits("run-1", awaiting("a", "x", "y", needed=2))
    events.match(sent("1", "y").pk)
    claim = turn_of_the_waiting()

    elapse_wait(claim, records.load("run-1")[0])

    assert the_step("a").result == {
        "timed_out": True,
        "events": [{"event_id": "y", "event_data": 1}],
    }


def test_targeted_event_reaches_its_run_alone() -> None:
    a_run_waits("run-1")
    a_run_waits("run-2")

    assert events.match(sent(run_id="run-2").pk) == {"run-2"}

    assert the_step("a", "run-1").sequence is None


def test_waits_of_a_cancelled_run_are_over() -> None:
    a_run_waits()
    runs.cancel("run-1")

    assert events.match(sent().pk) == set()

    assert the_step("a").status == "cancelled"
    assert not Waiter.objects.exists()


def test_event_before_the_cancel_is_recorded_and_the_run_cancelled_all_the_same() -> None:
    a_run_waits()
    events.match(sent().pk)

    runs.cancel("run-1")

    assert the_run().status == "cancelled"
    assert the_step("a").result == GOT


def test_sweep_matches_what_nobody_has_tried() -> None:
    a_run_waits()
    sent()

    sweep(force=True)

    assert the_step("a").result == GOT
    assert match_untried() == 0


def test_wait_that_nobody_has_tried_is_swept_too() -> None:
    event = sent()
    events.match(event.pk)
    a_run_waits()

    assert match_untried() == 1

    assert the_step("a").result == GOT
    assert events.untried(10) == ([], [])


def test_thousand_waiters_are_reached_by_a_few_statements() -> None:
    ids = [f"run-{number}" for number in range(1000)]
    insert(*ids)
    for claim in claims.claim("worker", 1000):
        waits.wait(claim, [awaiting("a")])
    event = sent()

    with CaptureQueriesContext(connection) as captured:
        reached = events.match(event.pk)

    assert len(reached) == 1000
    assert Step.objects.filter(sequence=1).count() == 1000
    assert len(captured) <= 40


def test_event_is_sent_by_a_step_once() -> None:
    claim = claimed()
    new = NewEvent("go", "1", sent_by="the-key")

    first, again = events.send_under(claim, new), events.send_under(claim, new)

    assert first == again
    assert Event.objects.count() == 1


def test_event_of_a_fenced_step_is_not_sent() -> None:
    claim = claimed()
    claims.take_over(claim)
    claim.token -= 1

    with pytest.raises(DeliveryFencedError):
        events.send_under(claim, NewEvent("go", "1", sent_by="the-key"))

    assert not Event.objects.exists()


def test_notify_in_a_transaction_that_is_rolled_back_leaves_nothing() -> None:
    with transaction.atomic():
        notify("go", 1)
        transaction.set_rollback(True)

    assert not Event.objects.exists()


@pytest.mark.django_db(databases=["default", "other"], transaction=True)
def test_notify_in_a_transaction_on_another_alias_is_refused() -> None:
    with (
        transaction.atomic(using="other"),
        pytest.raises(InvalidOptionError, match='"other", but events are kept on "default"'),
    ):
        notify("go")

    assert not Event.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_reached_is_filled_in_when_the_transaction_commits() -> None:
    triggers.insert([new_run()])
    a_run_waits("run-2")

    with transaction.atomic():
        event = notify("go", 1)
        assert event.reached is None

    assert event.reached == 1


def test_notify_for_a_run_that_does_not_exist_is_refused() -> None:
    with pytest.raises(RunNotFoundError, match='no run "nobody"'):
        notify("go", workflow_run_id="nobody")


def test_data_over_the_limit_are_refused() -> None:
    with (
        override_settings(WORKFLOW={"MAX_PAYLOAD_BYTES": 10}),
        pytest.raises(PayloadTooLargeError, match="The data of the event take"),
    ):
        notify("go", "x" * 20)
