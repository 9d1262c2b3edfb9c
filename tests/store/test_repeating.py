"""Short transactions that gave way to others: made again where nobody else's are around them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import OperationalError, transaction

from django_workflow.models import Delivery, Run
from django_workflow.store import records, repeating, runs
from django_workflow.store.repeating import TRIES, repeated
from tests.store.giving_way import GivesWay
from tests.store.made import FAILED_TRY, claimed, completed, insert, retrying


@pytest.fixture(autouse=True)
def rests(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was rested, instead of resting."""
    found: list[float] = []
    monkeypatch.setattr(repeating, "sleep", found.append)
    return found


@pytest.mark.django_db(transaction=True)
def test_what_gave_way_is_made_again_after_a_short_rest(rests: list[float]) -> None:
    made = GivesWay(2)

    assert repeated(made)() == "done"

    assert made.calls == 3
    assert len(rests) == 2
    assert all(0 <= rest < 0.1 for rest in rests)


@pytest.mark.django_db(transaction=True)
def test_what_gives_way_again_and_again_is_raised_in_the_end(rests: list[float]) -> None:
    made = GivesWay(100)

    with pytest.raises(OperationalError):
        repeated(made)()

    assert made.calls == TRIES
    assert sum(rests) < 1


@pytest.mark.django_db(transaction=True)
def test_inside_the_callers_transaction_it_is_raised_at_once() -> None:
    made = GivesWay(1)

    with pytest.raises(OperationalError), transaction.atomic():
        repeated(made)()

    assert made.calls == 1


@pytest.mark.django_db(transaction=True)
def test_any_other_trouble_is_raised_at_once() -> None:
    calls: list[int] = []

    def made() -> None:
        calls.append(1)
        raise OperationalError(2006, "Server has gone away")

    with pytest.raises(OperationalError):
        repeated(made)()

    assert calls == [1]


@pytest.mark.django_db(transaction=True)
def test_a_verb_that_gave_way_is_done_once(monkeypatch: pytest.MonkeyPatch) -> None:
    insert("run-1")
    wakes = Delivery.objects.get().wakes
    monkeypatch.setattr(runs, "_leave_lines", GivesWay(1, runs._leave_lines))

    assert runs.pause("run-1") is None

    assert Run.objects.get().status == "paused"
    assert Delivery.objects.get().wakes == wakes + 1


@pytest.mark.django_db(transaction=True)
def test_claim_is_as_it_was_when_its_transaction_is_made_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    claim = claimed()
    # The marker before it is recorded, and has moved the claim's counter, when the transaction gives way.
    monkeypatch.setattr(records, "keep_attempt", GivesWay(1, records.keep_attempt))
    marker = completed("p", kind="patch")

    records.put_off(claim, retrying("a", timedelta(hours=1)), FAILED_TRY, markers=[marker])

    assert claim.wakes == Delivery.objects.get().wakes


@pytest.mark.django_db(transaction=True)
def test_deaths_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    claim = claimed()
    monkeypatch.setattr(records, "keep_attempt", GivesWay(1, records.keep_attempt))

    assert records.died(claim, at="a") == 1

    assert Delivery.objects.get().deaths == 1
