"""Records: a step's result is written once, in the order of its number, by the one who holds the delivery."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import DatabaseError, transaction

from django_workflow.core.exceptions import DeliveryFencedError
from django_workflow.models import Attempt, Delivery, Step
from django_workflow.store import claims, records, runs, waits
from django_workflow.store.records import AttemptRow
from django_workflow.store.rows import Claim
from tests.store.made import (
    FAILED_TRY,
    FUTURE,
    claimed,
    completed,
    delivery_of,
    everything,
    expire,
    fan_out,
    is_due,
    pending,
    retrying,
    sleeping,
    the_step,
    the_turn,
)

pytestmark = pytest.mark.django_db


def test_record_of_the_turn_gets_the_next_number_and_keeps_the_claim() -> None:
    claim = claimed()

    first = records.record(claim, completed("a"))
    second = records.record(claim, completed("b"))

    assert (first.sequence, second.sequence, claim.wakes) == (1, 2, 2)
    assert the_turn().leased_by == "worker"


def test_record_is_written_as_it_was_given() -> None:
    claim = claimed()

    done = records.record(
        claim,
        completed("p1.0/a", name="a", branch="p1.0/", took=timedelta(seconds=5), worker="me"),
    )

    step = the_step("p1.0/a")
    assert (step.name, step.branch, step.kind, step.status) == ("a", "p1.0/", "run", "completed")
    assert (step.result_text, step.attempts, step.worker, step.sequence) == ("1", 1, "me", 1)
    assert step.finished_at == done.finished_at
    assert step.started_at is not None
    assert step.finished_at is not None
    assert timedelta(seconds=4.9) < step.finished_at - step.started_at < timedelta(seconds=6)


def test_record_begins_the_count_of_tries_and_deaths_anew() -> None:
    claim = claimed()
    claims.mark_begun(claim, "a")
    Delivery.objects.update(tries=4, deaths=2, trouble="x")

    records.record(claim, completed("a"))

    row = the_turn()
    assert (row.tries, row.deaths, row.begun, row.trouble) == (1, 0, "", "")


def test_record_completes_what_was_open() -> None:
    claim = claimed()
    waits.wait(claim, [pending("a")])
    runs.wake("run-1")
    [claim] = claims.claim("worker", 1)
    met = the_step("a")

    done = records.record(claim, completed("a", registered=True))

    step = the_step("a")
    assert (step.pk, step.created_at) == (met.pk, met.created_at)
    assert (step.status, step.sequence) == ("completed", done.sequence)


@pytest.mark.parametrize("registered", [True, False])
@pytest.mark.parametrize("is_there", [True, False])
def test_record_does_not_depend_on_what_its_writer_believes_is_there(
    registered: bool, is_there: bool
) -> None:
    claim = claimed()
    waits.wait(claim, [pending("a")] if is_there else [])
    runs.wake("run-1")
    [claim] = claims.claim("worker", 1)

    records.record(claim, completed("a", registered=registered))

    assert the_step("a").status == "completed"


def test_record_under_a_stale_token_writes_nothing() -> None:
    claim = claimed()
    expire(claim)
    claims.claim("other", 1)
    before = everything()

    with pytest.raises(DeliveryFencedError, match='Step "a" of run run-1 was refused'):
        records.record(claim, completed("a"))

    assert everything() == before


def test_record_of_a_cancelled_run_writes_nothing() -> None:
    claim = claimed()
    runs.cancel("run-1")
    before = everything()

    with pytest.raises(DeliveryFencedError):
        records.record(claim, completed("a"))

    assert everything() == before


def test_step_is_recorded_once() -> None:
    claim = claimed()
    records.record(claim, completed("a", result_text="1"))

    with pytest.raises(DeliveryFencedError):
        records.record(claim, completed("a", result_text="2"))

    assert the_step("a").result_text == "1"


def test_refused_record_takes_its_attempt_and_markers_back() -> None:
    claim = claimed()
    records.record(claim, completed("a"))

    with pytest.raises(DeliveryFencedError):
        records.record(
            claim, completed("a"), markers=[completed("m", kind="patch")], attempt=FAILED_TRY
        )

    assert (Step.objects.count(), Attempt.objects.count(), the_turn().wakes) == (1, 0, 1)


def test_record_of_a_step_delivery_ends_it_and_wakes_the_turn() -> None:
    [claim] = fan_out("a")

    done = records.record(claim, completed("a", registered=True, delivered=True))

    assert done.sequence == the_turn().wakes == 1
    assert is_due(the_turn())
    assert not Delivery.objects.filter(step_key="a").exists()


def test_record_of_a_step_delivery_leaves_a_held_turn_to_its_holder() -> None:
    [claim, _] = fan_out("a", "b")
    runs.wake("run-1")
    [turn] = claims.claim("other", 1)

    records.record(claim, completed("a", registered=True))

    assert the_turn().leased_by == "other"
    claims.give_back(turn, due_at=FUTURE)
    assert is_due(the_turn())


def test_step_delivery_whose_step_is_recorded_already_ends_without_writing_it() -> None:
    [claim] = fan_out("a")
    runs.wake("run-1")
    [turn] = claims.claim("other", 1)
    records.record(turn, completed("a", result_text="1", registered=True))
    claims.give_back(turn)

    with pytest.raises(DeliveryFencedError):
        records.record(claim, completed("a", result_text="2", registered=True))

    assert the_step("a").result_text == "1"
    assert not Delivery.objects.filter(step_key="a").exists()
    assert is_due(the_turn())


def test_stale_step_delivery_wakes_nobody() -> None:
    [claim] = fan_out("a")
    expire(claim)
    claims.claim("other", 1)
    before = everything()

    with pytest.raises(DeliveryFencedError):
        records.record(claim, completed("a", registered=True))

    assert everything() == before


def test_numbers_of_all_writers_of_a_run_are_one_order() -> None:
    [a, b] = fan_out("a", "b")
    first = records.record(b, completed("b", registered=True))
    [turn] = claims.claim("worker", 1)
    second = records.record(turn, completed("c"))
    third = records.record(a, completed("a", registered=True))

    assert [first.sequence, second.sequence, third.sequence] == [1, 2, 3]


def test_wakes_leave_gaps_in_the_numbers() -> None:
    claim = claimed()
    runs.wake("run-1")

    done = records.record(claim, completed("a"))

    assert done.sequence == 2


def test_holder_remembers_that_others_were_in_between() -> None:
    claim = claimed()
    runs.wake("run-1")
    records.record(claim, completed("a"))

    claims.give_back(claim, due_at=FUTURE)

    assert is_due(the_turn())


def test_markers_come_before_the_record_they_are_written_with() -> None:
    claim = claimed()

    done = records.record(claim, completed("a"), markers=[completed("m", kind="patch")])

    assert (the_step("m").sequence, done.sequence, claim.wakes) == (1, 2, 2)


def test_markers_are_not_written_under_a_step_delivery() -> None:
    [claim] = fan_out("a")
    before = everything()

    with pytest.raises(DeliveryFencedError):
        records.record(claim, completed("a"), markers=[completed("m", kind="patch")])

    assert everything() == before


def test_failed_attempt_is_kept_with_the_record_it_led_to() -> None:
    claim = claimed()

    records.record(claim, completed("a", status="failed", result_text=None), attempt=FAILED_TRY)

    assert (the_step("a").status, Attempt.objects.get().outcome) == ("failed", "failed")


def test_record_in_a_transaction_that_is_rolled_back_leaves_nothing() -> None:
    claim = claimed()
    before = everything()

    with transaction.atomic():
        records.record(claim, completed("a"))
        transaction.set_rollback(True)

    assert everything() == before


def test_step_put_off_by_the_turn_keeps_the_claim() -> None:
    claim = claimed()

    records.put_off(claim, retrying("a", timedelta(minutes=1)), FAILED_TRY)

    step, row = the_step("a"), the_turn()
    assert (step.status, step.attempts, step.sequence) == ("retrying", 1, None)
    assert (row.leased_by, row.token) == ("worker", claim.token)
    assert Attempt.objects.get().step_key == "a"


def test_step_put_off_by_its_delivery_is_due_when_it_wakes() -> None:
    [claim] = fan_out("a")

    records.put_off(claim, retrying("a", timedelta(minutes=1), delivered=True), FAILED_TRY)

    row = delivery_of("a")
    assert (row.leased_by, row.tries) == ("", 0)
    assert row.due_at is not None
    assert timedelta(seconds=55) < row.due_at - claim.now < timedelta(seconds=65)


def test_step_put_off_without_ending_its_delivery_keeps_the_claim() -> None:
    [claim] = fan_out("a")

    records.put_off(claim, pending("a", status="executing", delivered=True), FAILED_TRY, ends=False)

    assert claims.renew([(claim.delivery_id, claim.token)]) == 1


def test_step_put_off_for_the_second_time_is_one_row() -> None:
    claim = claimed()
    records.put_off(claim, retrying("a", timedelta(0)), FAILED_TRY)

    records.put_off(claim, retrying("a", timedelta(0), attempts=2), FAILED_TRY)

    assert (the_step("a").attempts, Attempt.objects.count()) == (2, 2)


def test_markers_are_written_with_the_step_that_is_put_off() -> None:
    claim = claimed()

    records.put_off(
        claim,
        retrying("a", timedelta(0)),
        FAILED_TRY,
        markers=[completed("m", kind="patch"), completed("n", kind="patch")],
    )

    assert (the_step("m").sequence, the_step("n").sequence, claim.wakes) == (1, 2, 2)


def test_recorded_step_is_not_put_off() -> None:
    claim = claimed()
    records.record(claim, completed("a"))

    records.put_off(claim, retrying("a", timedelta(0)), None)

    assert (the_step("a").status, the_step("a").sequence) == ("completed", 1)


WRITES_OF_A_HOLDER: list[Callable[[Claim], object]] = [
    lambda claim: records.put_off(claim, retrying("a", timedelta(0)), FAILED_TRY),
    lambda claim: records.put_off(
        claim, retrying("a", timedelta(0)), None, markers=[completed("m", kind="patch")]
    ),
    lambda claim: waits.wait(claim, [pending("a"), pending("b")], fan_out=["a", "b"]),
    lambda claim: waits.wait(claim, [], markers=[completed("m", kind="patch")]),
]


@pytest.mark.parametrize("write", WRITES_OF_A_HOLDER)
def test_write_under_a_stale_token_is_refused_and_leaves_nothing(
    write: Callable[[Claim], object],
) -> None:
    claim = claimed()
    expire(claim)
    claims.claim("other", 1)
    before = everything()

    with pytest.raises(DeliveryFencedError):
        write(claim)

    assert everything() == before


def test_waiting_steps_are_registered_and_the_turn_given_back() -> None:
    claim = claimed()

    waits.wait(claim, [pending("a"), pending("b")])

    row = the_turn()
    assert [s.key for s in Step.objects.order_by("id")] == ["a", "b"]
    assert (row.due_at, row.leased_by, row.token) == (None, "", 2)


def test_fan_out_gives_each_step_a_delivery_that_is_due() -> None:
    claim = claimed()

    waits.wait(claim, [pending("a"), pending("b"), sleeping("c", 60)], fan_out=["a", "b"])

    assert is_due(delivery_of("a"))
    assert is_due(delivery_of("b"))
    assert [the_step(key).delivered for key in "abc"] == [True, True, False]


def test_turn_that_waits_is_due_with_the_earliest_timer() -> None:
    claim = claimed()

    waits.wait(claim, [sleeping("a", 120), sleeping("b", 60)])

    assert the_turn().due_at == the_step("b").wake_at


def test_deadline_of_the_run_comes_before_a_later_timer() -> None:
    claim = claimed()
    deadline = claim.now + timedelta(seconds=30)

    waits.wait(claim, [sleeping("a", 60)], due_at=deadline)

    assert the_turn().due_at == deadline


def test_retry_of_a_delivered_step_does_not_wake_the_turn() -> None:
    [claim] = fan_out("a")
    records.put_off(claim, retrying("a", timedelta(minutes=1), delivered=True), None)
    runs.wake("run-1")
    [turn] = claims.claim("worker", 1)

    waits.wait(turn, [])

    assert the_turn().due_at is None


def test_retry_of_a_step_without_a_delivery_wakes_the_turn() -> None:
    claim = claimed()
    records.put_off(claim, retrying("a", timedelta(minutes=1)), None)

    waits.wait(claim, [])

    assert the_turn().due_at == the_step("a").wake_at


def test_turn_that_was_woken_while_it_passed_waits_for_nothing() -> None:
    claim = claimed()
    runs.wake("run-1")

    waits.wait(claim, [sleeping("a", 60)])

    assert is_due(the_turn())


def test_own_markers_are_no_wake() -> None:
    claim = claimed()

    waits.wait(claim, [sleeping("a", 60)], markers=[completed("m", kind="patch")])

    assert not is_due(the_turn())


def test_step_registered_before_is_left_as_it_is() -> None:
    claim = claimed()
    waits.wait(claim, [sleeping("a", 60)])
    wake_at = the_step("a").wake_at
    runs.wake("run-1")
    [claim] = claims.claim("worker", 1)

    waits.wait(claim, [sleeping("a", 600)])

    assert the_step("a").wake_at == wake_at


def test_many_steps_are_registered_in_the_order_they_were_met() -> None:
    keys = [f"s{index}" for index in range(120)]
    claim = claimed()

    waits.wait(claim, [pending(key) for key in keys], fan_out=keys)

    assert [record.key for record in records.load("run-1")] == keys
    assert Delivery.objects.exclude(step_key="").count() == 120


def test_journal_is_loaded_in_sequence_with_the_open_steps_behind() -> None:
    [a, b, _] = fan_out("a", "b", "c")
    records.record(b, completed("b", registered=True))
    records.record(a, completed("a", registered=True))

    loaded = records.load("run-1")

    assert [(record.key, record.sequence) for record in loaded] == [
        ("b", 1),
        ("a", 2),
        ("c", None),
    ]


def test_only_what_is_newer_or_open_is_loaded_again() -> None:
    claim = claimed()
    records.record(claim, completed("a"))
    records.record(claim, completed("b"))
    waits.wait(claim, [pending("c")])

    assert [record.key for record in records.load("run-1", 1)] == ["b", "c"]


def test_loaded_times_are_aware() -> None:
    claim = claimed()
    done = records.record(claim, completed("a"))
    waits.wait(claim, [sleeping("b", 60)])

    [recorded, open_step] = records.load("run-1")

    assert recorded.finished_at == done.finished_at
    assert open_step.wake_at == the_step("b").wake_at


def test_open_steps_alone_are_loaded_with_aware_times() -> None:
    claim = claimed()
    waits.wait(claim, [sleeping("b", 60), pending("c")])

    [first, _] = records.load("run-1")

    assert first.wake_at is not None
    assert first.wake_at.tzinfo is not None


def test_record_is_known_by_its_number() -> None:
    claim = claimed()
    done = records.record(claim, completed("a"))
    waits.wait(claim, [pending("b")])

    assert records.is_recorded("run-1", "a", done.sequence)
    assert not records.is_recorded("run-1", "a", done.sequence + 1)
    assert not records.is_recorded("run-1", "b", 1)
    assert not records.is_recorded("run-1", "c", 1)


def test_late_result_is_kept_aside() -> None:
    claimed()

    records.keep(
        "run-1", AttemptRow("a", 1, Attempt.Outcome.LATE, None, "7", timedelta(1)), worker="me"
    )

    attempt = Attempt.objects.get()
    assert (attempt.outcome, attempt.result_text, attempt.worker) == ("late", "7", "me")
    assert attempt.started_at is not None
    assert attempt.finished_at - attempt.started_at == timedelta(1)


def test_step_delivery_that_is_not_reached_ends_and_wakes_the_turn() -> None:
    [claim] = fan_out("a")

    assert runs.end_step_delivery(claim)

    assert is_due(the_turn())
    assert not the_step("a").delivered
    assert not Delivery.objects.filter(step_key="a").exists()


def test_stale_step_delivery_ends_nothing() -> None:
    [claim] = fan_out("a")
    expire(claim)
    claims.claim("other", 1)
    before = everything()

    assert not runs.end_step_delivery(claim)
    assert everything() == before


def test_turn_is_not_ended_as_a_step_delivery() -> None:
    claim = claimed()

    assert not runs.end_step_delivery(claim)
    assert the_turn().leased_by == "worker"


def test_results_written_together_each_have_their_token_and_number() -> None:
    a, b, c = fan_out("a", "b", "c")
    stale = replace(b, token=b.token - 1)

    done = records.record_together(
        [(claim, completed(claim.step_key, registered=True)) for claim in (a, stale, c)]
    )

    assert [one and one.sequence for one in done] == [1, None, 2]
    assert the_step("a").sequence == 1
    assert the_step("b").sequence is None
    assert [one.step_key for one in Delivery.objects.exclude(step_key="")] == ["b"]
    assert is_due(the_turn())


def test_results_written_together_leave_nothing_when_one_cannot_be_written() -> None:
    a, b = fan_out("a", "b")
    before = everything()
    without_status = completed("b", registered=True, status=None)

    with pytest.raises(DatabaseError), transaction.atomic():
        records.record_together([(a, completed("a", registered=True)), (b, without_status)])

    assert everything() == before
