"""Deliveries: who gets one, for how long, and how it comes back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from django_workflow.core import ports
from django_workflow.core.exceptions import DeliveryFencedError
from django_workflow.models import Attempt, Delivery, Run, Sweep
from django_workflow.store import claims, records, runs, triggers
from tests.store.made import (
    FUTURE,
    PAST,
    claimed,
    delivery_of,
    everything,
    expire,
    fan_out,
    insert,
    is_due,
    new_run,
    the_run,
    the_turn,
)

pytestmark = pytest.mark.django_db


def test_claim_takes_no_more_than_its_limit() -> None:
    insert("a", "b", "c")

    first = claims.claim("worker", 2)
    second = claims.claim("worker", 2)

    assert (len(first), len(second)) == (2, 1)
    assert {claim.run_id for claim in first + second} == {"a", "b", "c"}


def test_claim_begins_with_what_is_due_longest() -> None:
    insert("late", "early")
    Delivery.objects.filter(run_id="early").update(due_at=PAST)

    [claim] = claims.claim("worker", 1)

    assert claim.run_id == "early"


def test_claims_of_a_batch_are_in_the_order_in_which_they_were_due() -> None:
    insert(*"abcdefgh")
    for_days = zip("hgfedcba", range(8), strict=True)
    Delivery.objects.bulk_update(
        [late_by(run_id, days) for run_id, days in for_days], fields=["due_at"]
    )

    found = claims.claim("worker", 8)

    assert [claim.run_id for claim in found] == list("abcdefgh")


def late_by(run_id: str, days: int) -> Delivery:
    row = the_turn(run_id)
    row.due_at = PAST - timedelta(days=days)
    return row


def test_what_is_due_at_one_moment_is_claimed_as_it_came() -> None:
    insert(*"hgfedcba")
    Delivery.objects.update(due_at=PAST)

    assert [claim.run_id for claim in claims.claim("worker", 8)] == list("hgfedcba")


def test_claim_finds_nothing_where_nothing_is_due() -> None:
    triggers.insert([new_run(delay=timedelta(hours=1))])

    assert claims.claim("worker", 5) == []


def test_claimed_delivery_is_leased_under_a_new_token() -> None:
    claim = claimed()

    row = the_turn()

    assert (row.leased_by, row.token, claim.token, row.tries) == ("worker", 1, 1, 1)
    assert row.due_at is not None
    assert timedelta(seconds=29) < row.due_at - claim.now < timedelta(seconds=31)
    assert claims.claim("other", 5) == []


def test_delivery_whose_lease_is_over_goes_to_another_worker_under_another_token() -> None:
    first = claimed()
    expire(first)

    [second] = claims.claim("other", 5)

    assert (second.delivery_id, second.token, second.tries) == (first.delivery_id, 2, 2)


def test_claim_makes_a_pending_run_running() -> None:
    claim = claimed()

    run = the_run()

    assert run.status == "running"
    assert run.started_at == claim.now
    assert claim.run.started_at is None


def test_second_claim_finds_the_beginning_of_the_first() -> None:
    first = claimed()
    expire(first)

    [second] = claims.claim("other", 1)

    assert second.run.started_at == first.now


def test_runs_claimed_together_begin_at_their_claims_time() -> None:
    insert("a", "b", "c")

    found = claims.claim("worker", 3)

    assert {claim.run_id: claim.now for claim in found} == dict(
        Run.objects.values_list("pk", "started_at")
    )


def test_paused_run_stays_paused_when_its_delivery_is_claimed() -> None:
    insert()
    runs.pause("run-1")

    [claim] = claims.claim("worker", 1)

    assert claim.run.status == the_run().status == "paused"


def test_claim_looks_only_at_the_runs_it_is_given() -> None:
    insert("a", "b")

    found = claims.claim("worker", 5, only=["b"])

    assert [claim.run_id for claim in found] == ["b"]


def test_claim_among_no_runs_finds_nothing() -> None:
    insert()

    assert claims.claim("worker", 5, only=[]) == []


def test_claim_carries_the_row_and_the_run() -> None:
    claim = claimed()

    assert (claim.run_id, claim.step_key, claim.entry, claim.wakes) == ("run-1", "", 0, 0)
    assert (claim.begun, claim.deaths, claim.is_turn) == ("", 0, True)
    assert (claim.run.workflow, claim.run.version, claim.run.revision) == ("store_test", "1", 0)
    assert claim.run.created_at.tzinfo is not None


def test_request_enters_a_claim_once() -> None:
    claim = claimed()

    first = claims.enter(claim.delivery_id, claim.token, 0)
    again = claims.enter(claim.delivery_id, claim.token, 0)
    following = claims.enter(claim.delivery_id, claim.token, 1)

    assert first is not None
    assert (first.token, first.entry, first.run.status) == (claim.token, 1, "running")
    assert again is None
    assert following is not None


def test_request_enters_with_the_run_that_is_known() -> None:
    claim = claimed()
    first = claims.enter(claim.delivery_id, claim.token, 0)
    assert first is not None

    known = claims.enter(claim.delivery_id, claim.token, 1, (first.wakes, first.run))

    assert known == replace(first, entry=2, now=known.now if known else first.now)


@pytest.mark.parametrize("change", [runs.pause, runs.wake])
def test_request_reads_a_known_run_again_once_it_was_woken(change: Any) -> None:
    claim = claimed()
    first = claims.enter(claim.delivery_id, claim.token, 0)
    assert first is not None
    change("run-1")

    known = claims.enter(claim.delivery_id, claim.token, 1, (first.wakes, first.run))

    assert known is not None
    assert (known.wakes, known.entry) == (first.wakes + 1, 2)
    assert known.run.status == Run.objects.get().status


def test_request_with_a_stale_token_enters_no_known_run() -> None:
    claim = claimed()

    assert claims.enter(claim.delivery_id, claim.token - 1, 0, (claim.wakes, claim.run)) is None


def test_request_with_a_stale_token_does_not_enter() -> None:
    claim = claimed()

    assert claims.enter(claim.delivery_id, claim.token - 1, 0) is None


def test_request_does_not_enter_when_the_lease_is_over() -> None:
    claim = claimed()
    expire(claim)

    assert claims.enter(claim.delivery_id, claim.token, 0) is None


def test_request_does_not_enter_what_nobody_holds() -> None:
    claim = claimed()
    claims.give_back(claim, due_at=FUTURE)

    assert claims.enter(claim.delivery_id, claim.token + 1, 0) is None


def test_request_does_not_enter_a_cancelled_run() -> None:
    claim = claimed()
    runs.cancel("run-1")

    assert claims.enter(claim.delivery_id, claim.token, 0) is None


def test_renewed_lease_ends_later() -> None:
    claim = claimed()

    held = claims.renew([(claim.delivery_id, claim.token)], timedelta(hours=1))

    due_at = the_turn().due_at
    assert held == 1
    assert due_at is not None
    assert due_at > claim.now + timedelta(minutes=59)


def test_renewal_under_a_stale_token_changes_nothing() -> None:
    claim = claimed()
    before = everything()

    assert claims.renew([(claim.delivery_id, claim.token - 1)], timedelta(hours=1)) == 0
    assert everything() == before


def test_renewal_tells_how_many_still_hold() -> None:
    insert("a", "b")
    found = claims.claim("worker", 2)
    claims.give_back(found[0], due_at=FUTURE)

    assert claims.renew([(claim.delivery_id, claim.token) for claim in found]) == 1


def test_renewal_of_nothing_is_no_statement() -> None:
    assert claims.renew([]) == 0


def test_delivery_taken_over_in_place_fences_the_old_token() -> None:
    claim = claimed()
    old = claim.token

    assert claims.take_over(claim)
    assert claim.token == old + 1
    assert claims.renew([(claim.delivery_id, old)]) == 0
    assert claims.renew([(claim.delivery_id, claim.token)]) == 1


def test_stale_claim_takes_nothing_over() -> None:
    claim = claimed()
    claims.give_back(claim, due_at=FUTURE)

    assert not claims.take_over(claim)
    assert claim.token == 1


def test_turn_given_back_is_due_at_the_time_asked_for() -> None:
    claim = claimed()

    assert claims.give_back(claim, due_at=FUTURE)

    row = the_turn()
    assert (row.due_at, row.leased_by, row.token, row.tries) == (FUTURE, "", 2, 0)


def test_turn_given_back_without_a_time_is_not_due() -> None:
    claim = claimed()

    claims.give_back(claim)

    assert the_turn().due_at is None


def test_turn_given_back_after_a_wake_is_due_at_once() -> None:
    claim = claimed()
    runs.wake("run-1")

    claims.give_back(claim, due_at=FUTURE)

    assert is_due(the_turn())


def test_wake_of_a_held_turn_leaves_its_lease_alone() -> None:
    claim = claimed()
    before = the_turn().due_at

    runs.wake("run-1")

    assert the_turn().due_at == before
    assert claims.renew([(claim.delivery_id, claim.token)]) == 1


def test_wake_of_a_turn_that_nobody_holds_makes_it_due() -> None:
    claims.give_back(claimed())

    runs.wake("run-1")

    assert is_due(the_turn())


def test_stale_claim_gives_nothing_back() -> None:
    claim = claimed()
    claims.take_over(claimed_copy := claims.enter(claim.delivery_id, claim.token, 0) or claim)
    before = everything()

    assert claimed_copy.token != claim.token
    assert not claims.give_back(claim, due_at=FUTURE)
    assert not claims.give_back_step(claim, FUTURE)
    assert not claims.trouble(claim.delivery_id, claim.token, reason="x", due_in=timedelta(1))
    assert claims.release([(claim.delivery_id, claim.token)]) == 0
    assert not claims.mark_begun(claim, "a")
    assert everything() == before


def test_step_delivery_that_came_too_early_is_given_back_for_its_time() -> None:
    [claim] = fan_out("a")

    assert claims.give_back_step(claim, FUTURE)
    assert delivery_of("a").due_at == FUTURE


def test_released_claim_is_due_at_once_and_its_try_does_not_count() -> None:
    claim = claimed()

    assert claims.release([(claim.delivery_id, claim.token)]) == 1

    row = the_turn()
    assert (row.leased_by, row.tries) == ("", 0)
    assert is_due(row)


def test_release_keeps_what_a_dead_holder_had_begun() -> None:
    first = claimed()
    claims.mark_begun(first, "a")
    expire(first)
    [second] = claims.claim("other", 1)

    claims.release([(second.delivery_id, second.token)])

    [third] = claims.claim("third", 1)
    assert third.begun == "a"


def test_trouble_puts_a_delivery_off_and_is_shown() -> None:
    claim = claimed()

    held = claims.trouble(
        claim.delivery_id, claim.token, reason="no answer", due_in=timedelta(hours=1)
    )

    row = the_turn()
    assert held
    assert (row.trouble, row.leased_by, row.tries) == ("no answer", "", 1)
    assert not is_due(row)


@pytest.mark.parametrize(("survived", "begun"), [(False, "a"), (True, "")])
def test_trouble_is_a_death_only_where_the_process_may_have_died(
    survived: bool, begun: str
) -> None:
    claim = claimed()
    claims.mark_begun(claim, "a")

    claims.trouble(
        claim.delivery_id, claim.token, reason="x", due_in=timedelta(0), survived=survived
    )

    assert the_turn().begun == begun


def test_tries_count_on_through_trouble() -> None:
    claim = claimed()
    claims.trouble(claim.delivery_id, claim.token, reason="x", due_in=timedelta(0))

    [again] = claims.claim("worker", 1)

    assert again.tries == 2


def test_what_had_begun_when_the_holder_died_is_told_to_the_next_one() -> None:
    first = claimed()
    claims.mark_begun(first, "a")
    expire(first)

    [second] = claims.claim("other", 1)

    assert second.begun == "a"


def test_death_is_counted_and_kept() -> None:
    claim = claimed()
    claims.mark_begun(claim, "a")

    deaths = records.died(claim, at="a")

    attempt = Attempt.objects.get()
    assert (deaths, claim.deaths, claim.begun) == (1, 1, "")
    assert (the_turn().deaths, the_turn().begun) == (1, "")
    assert (attempt.step_key, attempt.outcome) == ("a", "died")


def test_death_under_a_stale_token_is_refused() -> None:
    claim = claimed()
    expire(claim)
    claims.claim("other", 1)
    before = everything()

    with pytest.raises(DeliveryFencedError):
        records.died(claim, at="a")

    assert everything() == before


def test_leases_of_dead_processes_are_freed() -> None:
    insert("a", "b")
    [dead] = claims.claim("host:1:0", 1)
    [alive] = claims.claim("host:2:0", 1)
    claims.mark_begun(dead, "x")

    freed = claims.release_worker("host:", lambda holder: holder == "host:2:0")

    [again] = claims.claim("other", 5)
    assert freed == 1
    assert (again.delivery_id, again.begun) == (dead.delivery_id, "x")
    assert claims.renew([(alive.delivery_id, alive.token)]) == 1


def test_first_sweep_wins_and_the_next_waits_for_its_interval() -> None:
    assert claims.take_sweep("one", timedelta(minutes=1))
    assert not claims.take_sweep("two", timedelta(minutes=1))
    assert Sweep.objects.get().swept_by == "one"


def test_sweep_is_open_again_when_the_interval_is_over() -> None:
    claims.take_sweep("one", timedelta(minutes=1))
    Sweep.objects.update(swept_at=PAST)

    assert claims.take_sweep("two", timedelta(minutes=1))
    assert Sweep.objects.get().swept_by == "two"


def test_due_deliveries_are_counted_up_to_a_limit() -> None:
    insert("a", "b", "c")

    assert (claims.count_due(10), claims.count_due(2)) == (3, 2)


class StandingClock:
    def __init__(self, moment: datetime) -> None:
        self.moment = moment

    def now(self) -> datetime:
        return self.moment


@pytest.fixture
def clock() -> Iterator[StandingClock]:
    clock = StandingClock(datetime(2030, 5, 1, 12, tzinfo=UTC))
    previous = ports.install_clock(clock)
    yield clock
    ports.install_clock(previous)


def test_installed_clock_stands_in_for_the_databases(clock: StandingClock) -> None:
    claim = claimed()

    assert claims.now() == claim.now == clock.moment == the_run().started_at
    assert the_turn().due_at == clock.moment + timedelta(seconds=30)


def test_delivery_is_due_at_its_very_moment(clock: StandingClock) -> None:
    triggers.insert([new_run(delay=timedelta(minutes=5))])
    clock.moment += timedelta(minutes=5)

    assert len(claims.claim("worker", 1)) == 1


def test_delivery_is_not_due_a_moment_before(clock: StandingClock) -> None:
    triggers.insert([new_run(delay=timedelta(minutes=5))])
    clock.moment += timedelta(minutes=5) - timedelta(microseconds=1)

    assert claims.claim("worker", 1) == []
