"""Journals of a batch of turns, loaded in one statement before the first of them is passed."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import OperationalError
from django.test import override_settings

from django_workflow.models import Delivery, Step
from django_workflow.runtime import journals as module
from django_workflow.runtime.journals import journals
from django_workflow.runtime.worker import drain
from django_workflow.store import records
from tests.concurrency.sleepers import asleep, fan, rested, results, wake
from tests.concurrency.together import (
    PATIENCE_SECONDS,
    Threads,
    bodies,
    eventually,
    finished,
    held_in,
)
from tests.store.loads import Loads
from tests.store.made import PAST

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_batch_of_turns_is_loaded_in_one_statement(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = asleep(rested, "a", "b", "c")
    loads = Loads(monkeypatch)
    wake(*runs)

    drain()

    assert loads.ahead == [sorted(run.id for run in runs)]
    assert loads.single == []
    assert results(runs) == [1, 1, 1]


def test_a_run_by_itself_a_new_one_and_a_long_one_are_not_loaded_ahead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    [alone] = asleep(rested, "alone")
    loads = Loads(monkeypatch)
    wake(alone)
    news = rested.trigger_many(["new", "newer"])
    drain()
    finished(alone)
    monkeypatch.setattr(module, "LOADED_AHEAD", -1)
    wake(*news)
    drain()

    assert loads.ahead == []
    assert results(news) == [1, 1]


def test_what_is_recorded_between_the_load_and_the_pass_is_not_lost(
    crew: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = fan.trigger()
    with override_settings(WORKFLOW={"CLAIM_BATCH": 1}):
        gate, working = held_in(crew, "slow")

    def let_the_other_record() -> None:
        gate.open()
        working.result(PATIENCE_SECONDS)

    eventually(lambda: Step.objects.filter(run_id=run.id, status="sleeping").exists())
    [first] = asleep(rested, "first")
    bodies.during = {"first": let_the_other_record}
    wake(first, run)
    loads = Loads(monkeypatch)
    Delivery.objects.filter(run_id=first.id).update(due_at=PAST.replace(year=PAST.year - 1))

    drain()

    assert loads.ahead == [sorted([first.id, run.id])]
    assert bodies.calls == {"slow": 1, "first": 1}
    assert finished(first).result == 1
    assert finished(run).result == [1, None]


def test_a_database_that_is_away_for_a_moment_is_asked_again_by_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def away(run_ids: list[str]) -> Any:
        raise OperationalError("gone away")

    runs = asleep(rested, "a", "b")
    wake(*runs)
    monkeypatch.setattr(records, "load_all", away)

    drain()

    assert results(runs) == [1, 1]


def test_journals_of_runs_that_are_over_are_not_kept() -> None:
    runs = asleep(rested, "a", "b", "c")
    asleep_still = asleep(rested, "d")
    assert set(journals._journals) == {run.id for run in [*runs, *asleep_still]}
    wake(*runs)

    assert results(runs) == [1, 1, 1]
    assert not journals._journals
