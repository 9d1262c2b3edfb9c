"""Celery's own workers, as real processes, killed, stopped, starved of their broker and of beat."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest
import redis

from django_workflow.models import Delivery, Run
from tests.dispatchers.app.workflows import once, sleeper, three_steps
from tests.dispatchers.processes import ROOT, Site, all_ended, eventually, recorded

pytestmark = pytest.mark.serial

STEPS = ["one", "two", "three"]
#: Before and after each commit of a run of three steps: the claim, a record for each step, the end.
POINTS = [
    "before.one", "in.one", "before.two", "in.two", "before.three", "in.three", "after.three",
]  # fmt: skip


def test_a_trigger_of_another_process_is_carried_out_by_its_hint_alone(site: Site) -> None:
    """The sweep looks only once in ten minutes here, and beat is not there."""
    settings = {"SWEEP_INTERVAL": 600}
    site.worker(settings=settings)
    command = [
        sys.executable, "manage.py", "workflow_trigger", "worked_once", "--wait", "--timeout", "20s", "--json",
    ]  # fmt: skip

    done = subprocess.run(command, cwd=ROOT, env=site.env, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "completed"


def test_without_a_hint_the_worker_finds_what_is_due_by_its_own_sweep(site: Site) -> None:
    site.worker()

    runs = [three_steps.trigger() for _ in range(10)]

    assert all_ended(runs, seconds=20) == ["completed"]
    assert [recorded(run) for run in runs] == [STEPS] * 10


@pytest.mark.parametrize("point", POINTS)
def test_a_worker_killed_at_any_point_loses_nothing_and_records_each_step_once(
    site: Site, point: str
) -> None:
    worker = site.worker()
    site.hold(point)
    run = three_steps.trigger()
    site.reaches(run, point)

    worker.kill()
    site.release(point)
    site.worker()

    assert all_ended([run]) == ["completed"]
    assert recorded(run) == STEPS
    passed = {step: site.times_at(run, f"in.{step}") for step in STEPS}
    twice = point.removeprefix("in.")
    assert passed == {step: 2 if step == twice else 1 for step in STEPS}


def test_workers_killed_again_and_again_run_no_body_more_often_than_once_and_the_kills(
    site: Site,
) -> None:
    kills = ("in.one", "before.two", "in.three")
    runs = [three_steps.trigger() for _ in range(12)]

    for point in kills:
        site.hold(point)
        worker = site.worker()
        eventually(lambda point=point: any(site.times_at(run, point) for run in runs))
        worker.kill()
        site.release(point)
    site.worker()

    assert all_ended(runs) == ["completed"]
    assert [recorded(run) for run in runs] == [STEPS] * 12
    most = max(site.times_at(run, f"in.{step}") for run in runs for step in STEPS)
    assert most <= 1 + len(kills)


def test_a_flushed_broker_without_beat_loses_none_of_hundreds_of_runs(
    site: Site, broker: redis.Redis
) -> None:
    site.hold("in.two")
    site.worker()
    runs = three_steps.trigger_many([None] * 300)
    eventually(lambda: sum(site.times_at(run, "in.two") for run in runs) >= 2)

    broker.flushall()
    site.release("in.two")

    assert all_ended(runs, seconds=90) == ["completed"]
    assert {tuple(recorded(run)) for run in runs} == {tuple(STEPS)}


def test_a_sleeper_runs_as_soon_as_one_of_the_busy_slots_is_free(site: Site) -> None:
    site.hold("in.only")
    site.worker()
    busy = [once.trigger(), once.trigger()]
    site.reaches(busy[0], "in.only")
    site.reaches(busy[1], "in.only")
    sleeping = sleeper.trigger(0.2)
    eventually(lambda: Delivery.objects.filter(run=sleeping, leased_by="").exists())

    site.release("in.only")

    assert all_ended([*busy, sleeping], seconds=15) == ["completed"]


def test_a_sleeper_is_woken_at_its_moment_and_not_at_the_next_sweep(site: Site) -> None:
    site.worker(settings={"SWEEP_INTERVAL": 3})
    first = once.trigger()
    assert all_ended([first]) == ["completed"]

    runs = [sleeper.trigger(seconds) for seconds in (1.0, 1.4, 1.8)]
    all_ended(runs)

    waits = [run.refresh().result - run.created_at.timestamp() for run in runs]
    # They are seen by a sweep up to 3 s after their trigger; from then on only their own time counts.
    late = [wait - seconds for wait, seconds in zip(waits, (1.0, 1.4, 1.8), strict=True)]
    assert max(late) - min(late) < 0.5


def test_several_beats_do_no_harm(site: Site) -> None:
    site.worker()
    beats = [site.beat(), site.beat()]

    runs = [three_steps.trigger() for _ in range(20)]

    assert all_ended(runs) == ["completed"]
    assert {site.times_at(run, f"in.{step}") for run in runs for step in STEPS} == {1}
    [beat.says("Sending due task django_workflow.sweep") for beat in beats]


def test_a_warm_shutdown_ends_what_has_begun_and_gives_the_rest_back(site: Site) -> None:
    site.hold("in.only")
    worker = site.worker("-c", "1")
    runs = once.trigger_many([None] * 8)
    eventually(lambda: any(site.times_at(run, "in.only") for run in runs))

    worker.signal(signal.SIGTERM)
    worker.says("Warm shutdown")
    site.release("in.only")

    assert worker.ends() == 0
    left = Run.objects.exclude(status="completed")
    assert left.count() == 7
    assert set(Delivery.objects.values_list("leased_by", "deaths", "begun")) == {("", 0, "")}
    assert sum(site.times_at(run, "in.only") for run in runs) == 1


def test_what_a_stopped_worker_gave_back_is_done_at_once_by_the_next(site: Site) -> None:
    """Leases are long here: only what was given back can be done in time."""
    long = {"LEASE": 600}
    site.hold("in.only")
    worker = site.worker("-c", "1", settings=long)
    runs = once.trigger_many([None] * 8)
    eventually(lambda: any(site.times_at(run, "in.only") for run in runs))
    worker.signal(signal.SIGTERM)
    worker.says("Warm shutdown")
    site.release("in.only")
    worker.ends()

    site.worker(settings=long)

    assert all_ended(runs, seconds=15) == ["completed"]
    assert {site.times_at(run, "in.only") for run in runs} == {1}


def test_the_projects_time_limit_does_not_kill_a_long_step(site: Site) -> None:
    site.hold("in.only")
    worker = site.worker(WORKER_TIME_LIMIT="0.5")
    run = once.trigger()
    site.reaches(run, "in.only")
    other = sleeper.trigger(1.5)
    assert all_ended([other]) == ["completed"]

    site.release("in.only")

    assert all_ended([run]) == ["completed"]
    assert site.times_at(run, "in.only") == 1
    assert "TimeLimitExceeded" not in worker.output


def test_a_threads_pool_carries_out_and_stops_as_well(site: Site) -> None:
    worker = site.worker("-P", "threads")

    runs = [three_steps.trigger() for _ in range(5)]

    assert all_ended(runs) == ["completed"]
    worker.signal(signal.SIGTERM)
    assert worker.ends() == 0
