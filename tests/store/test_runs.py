"""Runs: inserted, ended, put off; each in one transaction that the holder's token guards."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction

from django_workflow.core.types import RunStatus
from django_workflow.models import Attempt, Delivery, Run, RunLabel, Step
from django_workflow.store import claims, completions, records, runs, triggers, waits
from django_workflow.store.rows import Claim
from tests.store.made import (
    FAILED_TRY,
    FAILURE,
    FUTURE,
    PAST,
    claimed,
    completed,
    delivery_of,
    everything,
    expire,
    fan_out,
    insert,
    is_due,
    new_run,
    pending,
    retrying,
    sleeping,
    the_run,
    the_step,
    the_turn,
)

pytestmark = pytest.mark.django_db


def test_inserted_run_is_pending_and_its_turn_due() -> None:
    created = triggers.insert([new_run()])

    run = the_run()
    assert (run.status, run.created_at) == ("pending", created["run-1"])
    assert is_due(the_turn())


def test_delayed_run_is_due_after_its_delay() -> None:
    created = triggers.insert([new_run(delay=timedelta(hours=1))])

    assert the_turn().due_at == created["run-1"] + timedelta(hours=1)


def test_run_is_due_not_before_its_time() -> None:
    triggers.insert([new_run(not_before=FUTURE)])

    assert the_turn().due_at == FUTURE


def test_time_in_the_past_is_at_once() -> None:
    created = triggers.insert([new_run(not_before=PAST)])

    assert the_turn().due_at == created["run-1"]


def test_timeout_of_a_run_counts_from_its_trigger() -> None:
    created = triggers.insert([new_run(timeout=timedelta(hours=1))])

    assert the_run().deadline == created["run-1"] + timedelta(hours=1)


def test_labels_are_inserted_once_each() -> None:
    triggers.insert([new_run(labels=("x", "y", "x"))])

    assert sorted(RunLabel.objects.values_list("label", flat=True)) == ["x", "y"]


def test_taken_id_is_skipped_and_left_alone() -> None:
    insert("run-1")
    before = everything()

    assert triggers.insert([new_run(payload_text="1", labels=("x",))]) == {}
    assert everything() == before
    assert not RunLabel.objects.exists()


def test_ids_that_are_free_are_inserted_beside_taken_ones() -> None:
    insert("b")

    created = triggers.insert([new_run(run_id) for run_id in "abc"])

    assert list(created) == ["a", "c"]
    assert Delivery.objects.count() == 3


def test_id_given_twice_is_one_run() -> None:
    created = triggers.insert([new_run(payload_text="1"), new_run(payload_text="2")])

    assert list(created) == ["run-1"]
    assert (the_run().payload_text, Delivery.objects.count()) == ("1", 1)


def test_hundreds_of_runs_are_inserted() -> None:
    created = triggers.insert([new_run(f"r{index}") for index in range(250)])

    assert len(created) == Run.objects.count() == Delivery.objects.count() == 250


def test_taken_id_does_not_end_the_callers_transaction() -> None:
    insert("a")

    with transaction.atomic():
        triggers.insert([new_run("a")])
        triggers.insert([new_run("b")])

    assert Run.objects.count() == 2


def test_insert_that_is_rolled_back_leaves_nothing() -> None:
    with transaction.atomic():
        triggers.insert([new_run(labels=("x",))])
        transaction.set_rollback(True)

    assert (Run.objects.count(), Delivery.objects.count(), RunLabel.objects.count()) == (0, 0, 0)


@pytest.mark.parametrize("leaves_open", [False, True])
def test_completed_run_has_its_result_and_no_deliveries(leaves_open: bool) -> None:
    claim = claimed()

    assert completions.complete(claim, "42", leaves_open=leaves_open)

    run = the_run()
    assert (run.status, run.result_text) == ("completed", "42")
    assert run.finished_at is not None
    assert not Delivery.objects.exists()


def test_completion_abandons_what_is_open() -> None:
    [_, b] = fan_out("a", "b")
    records.record(b, completed("b", registered=True))
    [turn] = claims.claim("worker", 1)

    assert completions.complete(turn, None, leaves_open=True)

    assert (the_step("a").status, the_step("b").status) == ("abandoned", "completed")
    assert not Delivery.objects.exists()


@pytest.mark.parametrize("leaves_open", [False, True])
def test_stale_claim_completes_nothing(leaves_open: bool) -> None:
    claim = claimed()
    expire(claim)
    claims.claim("other", 1)
    before = everything()

    assert not completions.complete(claim, "42", leaves_open=leaves_open)
    assert everything() == before


@pytest.mark.parametrize("leaves_open", [False, True])
def test_paused_run_is_not_completed(leaves_open: bool) -> None:
    claim = claimed()
    runs.pause("run-1")
    before = everything()

    assert not completions.complete(claim, "42", leaves_open=leaves_open)
    assert everything() == before


@pytest.mark.parametrize("status", [RunStatus.FAILED, RunStatus.BLOCKED])
def test_dead_letter_is_not_due(status: RunStatus) -> None:
    claim = claimed()

    assert runs.end_badly(claim, status, FAILURE, failed_step="a", attempt=FAILED_TRY)

    run = the_run()
    assert (run.status, run.failed_step, run.failure_text) == (status, "a", FAILURE)
    assert run.finished_at is not None
    assert the_turn().due_at is None
    assert Attempt.objects.count() == 1
    assert claims.claim("worker", 5) == []


def test_dead_letter_with_a_handler_is_due_for_it() -> None:
    claim = claimed()

    runs.end_badly(claim, RunStatus.FAILED, FAILURE, with_handler=True)

    run = the_run()
    assert (run.status, run.handler_status, run.handler_round) == ("failed", "running", 1)
    assert is_due(the_turn())


def test_failure_holds_the_other_branches_where_they_are() -> None:
    [a, b] = fan_out("a", "b")
    records.put_off(a, retrying("a", timedelta(0), delivered=True), None)
    records.record(b, completed("b", status="failed", result_text=None, registered=True))
    [turn] = [c for c in claims.claim("worker", 5) if c.is_turn]
    claims.release([(d.pk, d.token) for d in Delivery.objects.filter(step_key="a")])

    runs.end_badly(turn, RunStatus.FAILED, FAILURE, failed_step="b")

    assert the_step("a").status == "retrying"
    assert delivery_of("a").due_at is None


def test_failure_leaves_what_is_in_flight_to_record() -> None:
    [a, b] = fan_out("a", "b")
    records.record(b, completed("b", status="failed", result_text=None, registered=True))
    [turn] = claims.claim("worker", 5)
    runs.end_badly(turn, RunStatus.FAILED, FAILURE, failed_step="b")

    records.record(a, completed("a", registered=True))

    assert (the_step("a").status, the_run().status) == ("completed", "failed")


def test_stale_claim_ends_nothing_badly() -> None:
    claim = claimed()
    expire(claim)
    claims.claim("other", 1)
    before = everything()

    assert not runs.end_badly(claim, RunStatus.FAILED, FAILURE)
    assert everything() == before


def test_paused_run_does_not_fail_but_is_looked_at_again() -> None:
    claim = claimed()
    runs.pause("run-1")

    assert not runs.end_badly(claim, RunStatus.FAILED, FAILURE)

    assert the_run().status == "paused"
    assert is_due(the_turn())


@pytest.mark.parametrize(("failure", "status"), [(None, "completed"), (FAILURE, "failed")])
def test_end_of_the_handler_is_kept_beside_the_runs(failure: str | None, status: str) -> None:
    runs.end_badly(claimed(), RunStatus.FAILED, FAILURE, with_handler=True)
    [claim] = claims.claim("worker", 1)

    assert runs.end_handler(claim, failure)

    run = the_run()
    assert (run.status, run.handler_status, run.handler_failure_text) == (
        "failed",
        status,
        failure,
    )
    assert the_turn().due_at is None


def test_stale_claim_does_not_end_the_handler() -> None:
    runs.end_badly(claimed(), RunStatus.FAILED, FAILURE, with_handler=True)
    [claim] = claims.claim("worker", 1)
    expire(claim)
    claims.claim("other", 1)
    before = everything()

    assert not runs.end_handler(claim, None)
    assert everything() == before


def test_code_that_failed_is_tried_again_after_its_delay() -> None:
    claim = claimed()

    assert runs.retry_code(claim, attempts=1, delay=timedelta(minutes=1), attempt=FAILED_TRY)

    run, row = the_run(), the_turn()
    assert (run.status, run.code_attempts, run.code_failed_at) == ("running", 1, 0)
    assert row.due_at is not None
    assert timedelta(seconds=55) < row.due_at - claim.now < timedelta(seconds=65)
    assert (row.leased_by, row.tries) == ("", 0)
    assert "attempt 1" in row.trouble


def test_code_that_failed_before_it_knew_everything_is_tried_again_at_once() -> None:
    claim = claimed()
    runs.wake("run-1")

    runs.retry_code(claim, attempts=1, delay=timedelta(hours=1), attempt=FAILED_TRY)

    assert is_due(the_turn())


def test_retry_of_the_code_does_not_outlast_the_runs_deadline() -> None:
    triggers.insert([new_run(timeout=timedelta(minutes=1))])
    [claim] = claims.claim("worker", 1)

    runs.retry_code(claim, attempts=1, delay=timedelta(hours=1), attempt=FAILED_TRY)

    assert the_turn().due_at == the_run().deadline


def test_stale_claim_retries_nothing() -> None:
    claim = claimed()
    expire(claim)
    claims.claim("other", 1)
    before = everything()

    assert not runs.retry_code(claim, attempts=1, delay=timedelta(0), attempt=FAILED_TRY)
    assert everything() == before


def test_cancelled_run_has_no_deliveries_and_no_open_steps() -> None:
    [a, _] = fan_out("a", "b")
    records.record(a, completed("a", registered=True))

    assert runs.cancel("run-1") is None

    assert the_run().status == "cancelled"
    assert not Delivery.objects.exists()
    assert [the_step(key).status for key in "ab"] == ["completed", "cancelled"]


def test_cancelled_run_refuses_what_is_in_flight() -> None:
    [a, _] = fan_out("a", "b")
    runs.cancel("run-1")

    assert claims.renew([(a.delivery_id, a.token)]) == 0
    assert not claims.give_back(a)


def test_run_cancels_itself_under_its_claim() -> None:
    claim = claimed()

    assert runs.cancel_from_inside(claim)
    assert the_run().status == "cancelled"


def test_stale_claim_does_not_cancel_from_inside() -> None:
    claim = claimed()
    expire(claim)
    claims.claim("other", 1)
    before = everything()

    assert not runs.cancel_from_inside(claim)
    assert everything() == before


def test_pause_is_a_wake_for_the_pass_under_way() -> None:
    claim = claimed()
    runs.pause("run-1")

    done = records.record(claim, completed("a"))

    assert done.sequence != 1
    assert claim.wakes == 0


def test_what_is_in_flight_records_while_the_run_is_paused() -> None:
    [a] = fan_out("a")
    runs.pause("run-1")

    records.record(a, completed("a", registered=True))

    assert (the_step("a").status, the_run().status) == ("completed", "paused")


def test_paused_run_goes_on_where_it_was() -> None:
    [a] = fan_out("a")
    runs.pause("run-1")
    claims.give_back(a)

    assert runs.unpause("run-1")

    assert the_run().status == "running"
    assert is_due(delivery_of("a"))
    assert is_due(the_turn())


def test_retry_keeps_its_time_over_a_pause() -> None:
    [a] = fan_out("a")
    records.put_off(a, retrying("a", timedelta(hours=1), delivered=True), None)
    runs.pause("run-1")
    Delivery.objects.filter(step_key="a").update(due_at=None)

    runs.unpause("run-1")

    assert delivery_of("a").due_at == the_step("a").wake_at


def test_run_that_has_not_begun_keeps_its_time_over_a_pause() -> None:
    triggers.insert([new_run(not_before=FUTURE)])
    runs.pause("run-1")

    assert runs.unpause("run-1")

    assert (the_run().status, the_turn().due_at) == ("pending", FUTURE)


def test_run_whose_time_came_while_it_was_paused_is_due() -> None:
    insert()
    runs.pause("run-1")
    [claim] = claims.claim("worker", 1)
    claims.give_back(claim)

    assert runs.unpause("run-1")

    assert the_run().status == "pending"
    assert is_due(the_turn())


def saw_a_paused_turn() -> Claim:
    claims.give_back(claimed())
    runs.pause("run-1")
    runs.wake("run-1")
    [claim] = claims.claim("worker", 1)
    return claim


def saw_a_paused_run_that_had_not_begun() -> Claim:
    insert()
    runs.pause("run-1")
    [claim] = claims.claim("worker", 1)
    return claim


def saw_a_paused_step_delivery() -> Claim:
    claim = claimed()
    waits.wait(claim, [pending("a")], fan_out=["a"])
    runs.pause("run-1")
    [claim] = claims.claim("worker", 1)
    return claim


@pytest.mark.parametrize(
    "saw", [saw_a_paused_turn, saw_a_paused_run_that_had_not_begun, saw_a_paused_step_delivery]
)
def test_holder_that_saw_the_run_paused_does_not_park_what_was_unpaused(saw: Any) -> None:
    claim = saw()
    runs.unpause("run-1")

    claims.give_back(claim)

    assert is_due(Delivery.objects.get(pk=claim.delivery_id))


def test_holder_that_saw_the_run_failed_does_not_park_what_was_resumed() -> None:
    [a, b] = fan_out("a", "b")
    records.record(b, completed("b", status="failed", result_text=None, registered=True))
    [turn] = claims.claim("worker", 5)
    runs.end_badly(turn, RunStatus.FAILED, FAILURE, failed_step="b")
    expire(a)
    [again] = claims.claim("worker", 5)
    runs.resume("run-1", force=False)

    claims.give_back(again)

    assert again.run.status == "failed"
    assert is_due(delivery_of("a"))


def test_resume_opens_the_step_that_ended_the_run_and_keeps_the_rest() -> None:
    claim = claimed()
    records.record(claim, completed("a"))
    records.record(claim, completed("b", status="failed", result_text=None), attempt=FAILED_TRY)
    runs.end_badly(claim, RunStatus.FAILED, FAILURE, failed_step="b")

    assert runs.resume("run-1", force=False)

    run, opened = the_run(), the_step("b")
    assert (run.status, run.failure_text, run.failed_step, run.finished_at) == (
        "running",
        None,
        "",
        None,
    )
    assert (run.revision, run.code_attempts) == (1, 0)
    assert (opened.status, opened.sequence, opened.attempts) == ("pending", None, 0)
    assert (the_step("a").sequence, Attempt.objects.count()) == (1, 1)
    assert is_due(the_turn())


def test_resume_goes_on_with_the_branches_that_were_held() -> None:
    [a, b] = fan_out("a", "b")
    claims.release([(a.delivery_id, a.token)])
    records.record(b, completed("b", status="failed", result_text=None, registered=True))
    turn = next(c for c in claims.claim("worker", 5) if c.is_turn)
    claims.release([(d.pk, d.token) for d in Delivery.objects.filter(step_key="a")])
    runs.end_badly(turn, RunStatus.FAILED, FAILURE, failed_step="b")

    runs.resume("run-1", force=False)

    assert is_due(delivery_of("a"))
    assert not the_step("b").delivered


def test_resume_forgets_deaths() -> None:
    claim = claimed()
    Delivery.objects.update(deaths=2)
    runs.end_badly(claim, RunStatus.BLOCKED, FAILURE)
    Delivery.objects.update(deaths=2, begun="a", tries=4)

    runs.resume("run-1", force=False)

    row = the_turn()
    assert (row.deaths, row.begun, row.tries) == (0, "", 0)


def test_resume_after_the_runs_timeout_goes_on_without_it() -> None:
    triggers.insert([new_run(timeout=timedelta(hours=1))])
    [claim] = claims.claim("worker", 1)
    runs.end_badly(claim, RunStatus.FAILED, FAILURE)
    Run.objects.update(deadline=PAST)

    runs.resume("run-1", force=False)

    assert the_run().deadline is None


def test_resume_before_the_runs_timeout_keeps_it() -> None:
    triggers.insert([new_run(timeout=timedelta(hours=1))])
    [claim] = claims.claim("worker", 1)
    runs.end_badly(claim, RunStatus.FAILED, FAILURE)

    runs.resume("run-1", force=False)

    assert the_run().deadline is not None


def with_handler_ended() -> None:
    runs.end_badly(claimed(), RunStatus.FAILED, FAILURE, with_handler=True)
    [claim] = claims.claim("worker", 1)
    runs.end_handler(claim, None)


@pytest.mark.parametrize(("force", "done"), [(False, False), (True, True)])
def test_resume_after_the_handler_needs_force(force: bool, done: bool) -> None:
    with_handler_ended()

    assert runs.resume("run-1", force=force) is done
    assert (the_run().status == "running") is done


@pytest.mark.parametrize("force", [False, True])
def test_resume_waits_for_the_end_of_the_handler(force: bool) -> None:
    runs.end_badly(claimed(), RunStatus.FAILED, FAILURE, with_handler=True)
    before = everything()

    assert not runs.resume("run-1", force=force)
    assert everything() == before


def test_second_failure_is_the_second_round_of_the_handler() -> None:
    with_handler_ended()
    runs.resume("run-1", force=True)
    [claim] = claims.claim("worker", 1)

    runs.end_badly(claim, RunStatus.FAILED, FAILURE, with_handler=True)

    assert (the_run().handler_status, the_run().handler_round) == ("running", 2)


def test_verbs_on_an_unknown_run_do_nothing() -> None:
    assert runs.state_of("nobody") is None
    assert runs.cancel("nobody") is None
    assert runs.pause("nobody") is None
    assert not runs.unpause("nobody")
    assert not runs.resume("nobody", force=True)


def test_sleep_of_a_paused_run_is_still_registered() -> None:
    claim = claimed()
    runs.pause("run-1")

    waits.wait(claim, [sleeping("a", 60)])

    assert the_step("a").status == "sleeping"
    assert Step.objects.count() == 1
