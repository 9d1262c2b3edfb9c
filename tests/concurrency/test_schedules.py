"""Each slot is fired once, with any number of sweepers, whatever happens to the schedule meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from django.db import transaction

from django_workflow import WorkflowContext, get_schedule, workflow
from django_workflow.core.ports import get_runtime, install_clock
from django_workflow.core.workflow import registry
from django_workflow.models import Run, Schedule, ScheduledRun
from django_workflow.runtime.sweeper import sweep
from django_workflow.runtime.worker import drain
from django_workflow.store import schedules
from tests.concurrency.together import Gate, Threads

pytestmark = pytest.mark.django_db(transaction=True)

PAST = datetime(2020, 1, 1, tzinfo=UTC)


@workflow(name="schedules_race")
def race(ctx: WorkflowContext[Any]) -> str:
    return f"{ctx.scheduled_for:%H:%M}"


@pytest.fixture(autouse=True)
def no_clock() -> None:
    install_clock(None)


def come(schedule: Schedule, ago: timedelta = timedelta(seconds=5)) -> datetime:
    """Let the next slot of a schedule have come."""
    slot = datetime.now(UTC).replace(second=0, microsecond=0)
    Schedule.objects.filter(pk=schedule.pk).update(slot_at=slot, due_at=slot)
    return slot


def fire() -> int:
    return get_runtime().fire_schedules()  # type: ignore[no-any-return]


@pytest.mark.parametrize("overlap", ["allow", "skip", "queue", "cancel_previous"])
def test_many_sweepers_fire_each_slot_once(crew: Threads, overlap: str) -> None:
    made = [
        race.schedule("* * * * *", schedule_id=f"s{n}", overlap=overlap, catch_up="all")
        for n in range(10)
    ]
    for round_ in range(3):
        slots = {schedule.id: come(schedule) + timedelta(hours=round_) for schedule in made}
        for schedule_id, slot in slots.items():
            Schedule.objects.filter(pk=schedule_id).update(slot_at=slot, due_at=PAST)
        started = crew.together(*[fire] * 6)
        assert sum(started) == 10
        drain()

    assert ScheduledRun.objects.count() == 30
    assert Run.objects.filter(status="completed").count() == 30
    assert not Run.objects.stuck().exists()


def test_sweep_fires_and_its_runs_are_worked_off() -> None:
    slot = come(race.schedule("* * * * *", schedule_id="swept"))

    sweep(force=True)
    sweep(force=True)
    drain()

    run = Run.objects.get()
    assert (run.id, run.result) == (f"swept@{slot:%Y%m%dT%H%MZ}", f"{slot:%H:%M}")
    assert get_schedule("swept").last_run_id == run.id
    assert get_schedule("swept").slot_at == slot + timedelta(minutes=1)


@pytest.mark.pg_only
def test_schedule_that_is_changed_while_it_fires_is_fired_as_it_was_or_not_at_all(
    crew: Threads,
) -> None:
    schedule = race.schedule("* * * * *", schedule_id="changed")
    come(schedule)
    gate = Gate()

    def change() -> None:
        with transaction.atomic():
            race.schedule("0 0 1 1 *", schedule_id="changed")
            gate.hold()

    changing = crew.start(change)
    gate.await_arrival()
    firing = crew.start(fire)
    gate.open()
    changing.result(30)

    assert firing.result(30) == 0
    assert not Run.objects.exists()
    assert get_schedule("changed").cron == "0 0 1 1 *"


@pytest.mark.parametrize("verb", ["pause", "delete"])
def test_verb_that_comes_first_wins(crew: Threads, verb: str) -> None:
    schedule = race.schedule("* * * * *", schedule_id="held")
    come(schedule)
    [seen] = schedules.due()

    getattr(schedule, verb)()
    fired = get_runtime()._fire(seen)

    assert fired.started == []
    assert not Run.objects.exists()


def test_pause_and_fire_at_once_leave_a_schedule_that_is_paused(crew: Threads) -> None:
    for n in range(10):
        schedule = race.schedule("* * * * *", schedule_id=f"p{n}")
        come(schedule)
        crew.together(schedule.pause, fire)
        found = get_schedule(f"p{n}")
        assert (found.is_paused, found.due_at) == (True, None)


def test_two_that_create_one_schedule_make_one(crew: Threads) -> None:
    makers = [
        partial(race.schedule, "* * * * *", schedule_id="one", payload={"n": n}) for n in range(6)
    ]
    crew.together(*makers)

    assert Schedule.objects.count() == 1
    assert get_schedule("one").payload["n"] in range(6)


def test_processes_that_start_together_declare_one_schedule(crew: Threads) -> None:
    made = workflow(name="schedules_declared", schedule="0 9 * * *", timezone="Europe/Paris")(
        lambda ctx: None
    )
    try:
        crew.together(*[get_runtime().sync_schedules] * 6)
        assert Schedule.objects.get(pk=made.name).is_declared
        assert Schedule.objects.count() == 1
    finally:
        registry.remove(made.name)
