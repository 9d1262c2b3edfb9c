"""Claims, requests and sweeps of many at once: one wins, and nothing is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from itertools import chain

import pytest
from django.db import connection, transaction

from django_workflow.core.exceptions import DeliveryFencedError
from django_workflow.core.types import RunStatus
from django_workflow.models import Delivery, Run, Step
from django_workflow.store import claims, completions, records, runs, sql, triggers, waits
from django_workflow.store.rows import Claim
from tests.concurrency.together import PATIENCE_SECONDS, Threads, eventually
from tests.store.made import (
    FAILURE,
    PortableOnPostgres,
    claimed,
    completed,
    delivery_of,
    fan_out,
    insert,
    is_due,
    new_run,
    pending,
    sleeping,
    the_run,
    the_turn,
)

pytestmark = pytest.mark.django_db(transaction=True)


def claim_all(worker: str) -> list[Claim]:
    found: list[Claim] = []
    while batch := claims.claim(worker, 7):
        found += batch
    return found


def test_three_hundred_deliveries_are_claimed_once_each_by_two_workers(crew: Threads) -> None:
    insert(*(f"r{index}" for index in range(300)))

    one, two = crew.together(partial(claim_all, "one"), partial(claim_all, "two"))
    # SQLite and MariaDB give a batch up that another has begun to take; the sweep finds what is left.
    rest = claim_all("rest")

    times = Counter(claim.delivery_id for claim in one + two + rest)
    assert len(times) == 300
    assert set(times.values()) == {1}
    assert set(Delivery.objects.values_list("token", flat=True)) == {1}


@pytest.mark.pg_only
def test_batch_that_another_has_begun_to_take_is_given_up_whole(
    crew: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A database without SKIP LOCKED, as old MariaDB is one: the lists of two workers overlap.
    monkeypatch.setitem(sql._BY_VENDOR, "postgresql", PortableOnPostgres())
    monkeypatch.setattr(type(connection.features), "has_select_for_update_skip_locked", False)
    insert(*(f"r{index}" for index in range(60)))

    found = crew.together(*[partial(claim_all, f"w{index}") for index in range(4)])
    rest = claim_all("rest")

    times = Counter(claim.delivery_id for claim in [*chain(*found), *rest])
    assert (len(times), set(times.values())) == (60, {1})
    assert set(Delivery.objects.values_list("token", flat=True)) == {1}


@pytest.mark.pg_only
def test_request_that_waited_for_a_change_of_state_does_not_park_what_it_did_not_see(
    crew: Threads,
) -> None:
    claim = claimed()
    runs.pause("run-1")

    with transaction.atomic():
        runs.unpause("run-1")
        entering = crew.start(claims.enter, claim.delivery_id, claim.token, 0)
        eventually(is_waiting_for_a_lock)
    entered = entering.result(PATIENCE_SECONDS)
    claims.give_back(entered)

    # The run was read as the statement began, before the change that it had to wait for.
    assert entered.run.status == "paused"
    assert is_due(the_turn())


@pytest.mark.pg_only
def test_wait_that_waited_for_a_wake_up_does_not_sleep_over_it(crew: Threads) -> None:
    claim = claimed()

    with transaction.atomic():
        runs.wake("run-1")
        waiting = crew.start(waits.wait, claim, [sleeping("rest", 3600)])
        eventually(is_waiting_for_a_lock)
    waiting.result(PATIENCE_SECONDS)

    assert Step.objects.get(key="rest").status == "sleeping"
    assert is_due(the_turn())


def is_waiting_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        # Not pg_stat_activity, of which a transaction sees what it saw first.
        cursor.execute(
            "SELECT 1 FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
        )
        return cursor.fetchone() is not None


def test_one_of_many_copies_of_a_request_is_let_in(crew: Threads) -> None:
    claim = claimed()

    entered = crew.together(
        *[partial(claims.enter, claim.delivery_id, claim.token, 0) for _ in range(8)]
    )

    assert [found is not None for found in entered].count(True) == 1


def test_one_of_many_sweepers_wins(crew: Threads) -> None:
    won = crew.together(
        *[partial(claims.take_sweep, f"w{index}", timedelta(minutes=1)) for index in range(8)]
    )

    assert won.count(True) == 1


def test_one_of_many_sweepers_wins_again_when_the_interval_is_over(crew: Threads) -> None:
    claims.take_sweep("first", timedelta(0))

    won = crew.together(
        *[partial(claims.take_sweep, f"w{index}", timedelta(milliseconds=1)) for index in range(8)]
    )

    assert won.count(True) >= 1


def test_one_of_many_triggers_with_one_id_makes_the_run(crew: Threads) -> None:
    created = crew.together(*[partial(triggers.insert, [new_run("same")]) for _ in range(8)])

    assert [bool(found) for found in created].count(True) == 1
    assert (Run.objects.count(), Delivery.objects.count()) == (1, 1)


def recorded(claim: Claim, key: str) -> int | None:
    try:
        return records.record(claim, completed(key, registered=True, delivered=True)).sequence
    except DeliveryFencedError:
        return None


def test_numbers_of_a_fan_out_are_one_order_without_doubles(crew: Threads) -> None:
    keys = [f"s{index}" for index in range(12)]
    held = fan_out(*keys)

    numbers = crew.together(*[partial(recorded, claim, claim.step_key) for claim in held])

    assert sorted(numbers) == list(range(1, 13))
    assert the_turn().wakes == 12
    assert is_due(the_turn())


def test_journal_shows_no_number_before_the_lower_ones(crew: Threads) -> None:
    keys = [f"s{index}" for index in range(12)]
    held = fan_out(*keys)
    seen: list[list[int | None]] = []

    def look() -> None:
        while len(seen) < 200:
            seen.append([row.sequence for row in records.load("run-1") if row.sequence])

    crew.together(look, *[partial(recorded, claim, claim.step_key) for claim in held])

    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in seen)


@pytest.mark.pg_only
def test_number_of_an_open_transaction_holds_the_later_ones_back(crew: Threads) -> None:
    [a, b] = fan_out("a", "b")

    with transaction.atomic():
        first = recorded(a, "a")
        later = crew.start(recorded, b, "b")
        visible = crew.start(lambda: Step.objects.filter(sequence__isnull=False).count()).result()
        assert not later.done()

    assert (first, visible, later.result(10)) == (1, 0, 2)


STATE_CHANGES: list[Callable[[Claim], object]] = [
    lambda turn: runs.cancel("run-1"),
    lambda turn: runs.pause("run-1"),
    lambda turn: runs.end_badly(turn, RunStatus.FAILED, FAILURE),
    lambda turn: completions.complete(turn, "1", leaves_open=True),
    lambda turn: runs.cancel_from_inside(turn),
    lambda turn: claims.renew([(turn.delivery_id, turn.token)]),
    lambda turn: waits.wait(turn, [pending("x"), pending("y")], fan_out=["x", "y"]),
]


@pytest.mark.parametrize("change", STATE_CHANGES)
@pytest.mark.parametrize("time", range(3))
def test_change_of_state_and_records_in_flight_wait_for_each_other_in_one_order(
    change: Callable[[Claim], object], time: int, crew: Threads
) -> None:
    held = fan_out("a", "b", "c", "d")
    runs.wake("run-1")
    [turn] = claims.claim("worker", 1)

    _, *numbers = crew.together(
        partial(change, turn), *[partial(recorded, claim, claim.step_key) for claim in held]
    )

    journal = Step.objects.exclude(sequence=None).values_list("sequence", flat=True)
    assert sorted(journal) == sorted(number for number in numbers if number)
    assert not Run.objects.stuck().exists()


def go_on_or_stand_still() -> None:
    """Do with a claim what a worker does: give it back as due, or not where the run stands still."""
    for claim in claims.claim("worker", 4):
        if claim.run.status in ("pending", "running"):
            claims.release([(claim.delivery_id, claim.token)])
        else:
            claims.give_back(claim)


@pytest.mark.parametrize("time", range(4))
def test_pause_and_unpause_meet_claims_and_returns(time: int, crew: Threads) -> None:
    insert()

    def hold() -> None:
        runs.pause("run-1")
        runs.unpause("run-1")

    crew.together(go_on_or_stand_still, hold, go_on_or_stand_still, hold)

    assert the_run().status in ("pending", "running")
    assert is_due(the_turn())


@pytest.mark.parametrize("time", range(4))
def test_resume_meets_a_holder_that_saw_the_run_failed(time: int, crew: Threads) -> None:
    [_, b] = fan_out("a", "b")
    recorded(b, "b")
    [turn] = claims.claim("worker", 5)
    runs.end_badly(turn, RunStatus.FAILED, FAILURE, failed_step="b")
    Delivery.objects.filter(step_key="a").update(due_at=claims.now() - timedelta(seconds=1))

    crew.together(
        go_on_or_stand_still, partial(runs.resume, "run-1", force=False), go_on_or_stand_still
    )

    assert the_run().status == "running"
    assert is_due(delivery_of("a"))


@pytest.mark.parametrize("time", range(4))
def test_fan_out_that_meets_a_cancellation_leaves_no_delivery_behind(
    time: int, crew: Threads
) -> None:
    claim = claimed()

    def wait() -> None:
        try:
            waits.wait(claim, [pending("a"), pending("b")], fan_out=["a", "b"])
        except DeliveryFencedError:
            return

    crew.together(wait, partial(runs.cancel, "run-1"))

    assert the_run().status == "cancelled"
    assert not Delivery.objects.exists()
    assert not Step.objects.exclude(status="cancelled").exists()


@pytest.mark.parametrize("time", range(4))
def test_one_of_two_enders_wins(time: int, crew: Threads) -> None:
    claim = claimed()

    done, cancelled = crew.together(
        partial(completions.complete, claim, "1", leaves_open=False), partial(runs.cancel, "run-1")
    )

    assert done is (cancelled == "completed")
    assert the_run().status == ("completed" if done else "cancelled")
