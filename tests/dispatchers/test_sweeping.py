"""The threads that sweep: what they survive, and what they see."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any

import pytest
from django.db import connection
from django.test import override_settings

from django_workflow import tasks
from django_workflow.core.ports import install_dispatcher
from django_workflow.dispatchers.sweeping import SweepThread, WatchThread
from django_workflow.models import Delivery, Run, Schedule, Sweep
from django_workflow.runtime import sweeper
from django_workflow.runtime.looks import latest_looks
from django_workflow.store import claims
from tests.dispatchers.app.workflows import once
from tests.dispatchers.processes import eventually

pytestmark = pytest.mark.django_db(transaction=True)


class Told:
    """A dispatcher that notes how many workers were told."""

    def __init__(self) -> None:
        self.counts: list[int] = []
        self.heard = Event()

    def hint(self, count: int = 1) -> None:
        self.counts.append(count)
        self.heard.set()


@pytest.fixture
def told() -> Iterator[Told]:
    made = Told()
    previous = install_dispatcher(made)
    yield made
    install_dispatcher(previous)


@pytest.fixture(params=[SweepThread, WatchThread])
def thread(request: pytest.FixtureRequest) -> Iterator[SweepThread]:
    made: SweepThread = request.param()
    yield made
    made.stop()
    made.join(timeout=10)
    assert not made.is_alive()


def test_it_finds_what_is_due_and_tells_the_workers(thread: SweepThread, told: Told) -> None:
    once.trigger()
    told.heard.clear()

    thread.start()

    assert told.heard.wait(10)


def test_it_wakes_at_the_moment_at_which_something_becomes_due(
    thread: SweepThread, told: Told
) -> None:
    run = once.trigger(delay=0.7)
    thread.start()
    told.heard.clear()

    assert told.heard.wait(10)

    assert Delivery.objects.filter(run=run, due_at__lte=claims.now()).exists()


@contextmanager
def table_missing(name: str) -> Iterator[None]:
    """Take a table away for a while: the database answers with errors."""
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {name} RENAME TO {name}_away")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {name}_away RENAME TO {name}")


def test_it_outlives_a_database_that_refuses_and_says_so_once(
    thread: SweepThread, told: Told, caplog: pytest.LogCaptureFixture, settings: Any
) -> None:
    settings.WORKFLOW = {"DISPATCHER": "embedded", "SWEEP_INTERVAL": 0.02}
    once.trigger()
    told.heard.clear()

    with caplog.at_level(logging.WARNING), table_missing("django_workflow_sweep"):
        thread.start()
        eventually(lambda: "the database says" in caplog.text)
        told.heard.clear()

    assert told.heard.wait(10)
    assert caplog.text.count("the database says") == 1


def test_of_many_sweepers_one_sweeps_in_an_interval(told: Told) -> None:
    once.trigger()
    told.counts.clear()

    swept = [sweeper.sweep(interval=timedelta(seconds=60)) for _ in range(5)]

    assert swept == [1, 0, 0, 0, 0]
    assert told.counts == [1]
    assert Sweep.objects.filter(pk=claims.SWEEPING).count() == 1


def test_the_tick_of_the_beat_is_kept_apart_from_sweeps(told: Told) -> None:
    once.trigger()
    sweeper.sweep()
    told.counts.clear()
    assert latest_looks().beat_at is None
    Sweep.objects.filter(pk=claims.SWEEPING).update(swept_at=datetime(2020, 1, 1, tzinfo=UTC))

    tasks.sweep()

    looks = latest_looks()
    assert told.counts == [1]
    assert looks.beat_at is not None
    assert looks.swept_at is not None
    assert looks.swept_at >= looks.beat_at
    # Another beat, or another worker's sweep, changes nothing of it so soon.
    tasks.sweep()
    sweeper.sweep(force=True)
    assert latest_looks().beat_at == looks.beat_at
    assert told.counts == [1, 1]


@override_settings(WORKFLOW={"CLAIM_BATCH": 8})
def test_as_many_workers_are_told_as_there_are_batches_due(told: Told) -> None:
    once.trigger_many([None] * 20)
    told.counts.clear()

    assert sweeper.sweep(force=True) == 20
    assert told.counts == [3]


def test_the_time_to_the_next_due_delivery_leaves_out_what_is_due_already() -> None:
    once.trigger()
    assert sweeper.seconds_to_next_due() is None

    once.trigger(delay="10s")
    once.trigger(delay="1h")

    ahead = sweeper.seconds_to_next_due()
    assert ahead is not None
    assert 5 < ahead <= 10


def test_schedule_is_fired_at_its_moment(thread: SweepThread, told: Told) -> None:
    once.schedule("* * * * *", schedule_id="soon")
    soon = claims.now() + timedelta(seconds=1.3)
    Schedule.objects.update(slot_at=soon, due_at=soon)
    thread.start()
    try:
        eventually(Run.objects.exists)
    finally:
        thread.stop()
        thread.join()

    # By itself a thread looks again after a minute.
    assert Run.objects.get().created_at - soon < timedelta(seconds=10)
    assert told.heard.is_set()
