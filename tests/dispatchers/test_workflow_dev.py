"""``manage.py workflow_dev``, as a real process: everything in one, without a broker."""

from __future__ import annotations

import contextlib
import re
import signal
import time
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from django_workflow.models import Run
from tests.dispatchers.app.workflows import once, sleeper, three_steps
from tests.dispatchers.processes import Process, Site, all_ended, eventually, recorded

pytestmark = pytest.mark.serial

STEPS = ["one", "two", "three"]


def address_of(dev: Process) -> str:
    found = re.search(r"web +(http://\S+)", dev.output)
    assert found is not None, dev.output
    return found[1]


def change_until_noticed(watched: Path, dev: Process) -> None:
    """Change a file once more as long as nobody minds: a reloader sees no change in its first look at a file."""

    def notices() -> bool:
        watched.write_text(f"VALUE = {time.monotonic_ns()}\n")
        with contextlib.suppress(AssertionError):
            dev.says("reloading", seconds=3)
            return True
        return False

    eventually(notices)


def test_runs_of_another_process_are_carried_out_over_http(brokerless: Site) -> None:
    dev = brokerless.dev("--noreload")

    runs = [three_steps.trigger() for _ in range(5)]

    assert all_ended(runs, seconds=20) == ["completed"]
    assert [recorded(run) for run in runs] == [STEPS] * 5
    assert '"POST /workflows/worked_three_steps/' in dev.output


def test_a_row_of_another_process_is_seen_long_before_the_next_sweep(brokerless: Site) -> None:
    """The sweep comes once a minute here; the fastest of some is taken, for the machine may be busy."""
    brokerless.dev("--noreload", "--no-web")
    assert all_ended([once.trigger()]) == ["completed"]

    runs = [_one_after_another() for _ in range(6)]

    waits = [run.refresh().started_at - run.created_at for run in runs]
    assert min(waits) < timedelta(seconds=5)


def _one_after_another() -> Run:
    run = once.trigger()
    all_ended([run])
    return run


def test_a_sleeper_wakes_at_its_moment(brokerless: Site) -> None:
    brokerless.dev("--noreload", "--no-web")

    runs = [sleeper.trigger(seconds) for seconds in (0.5, 1.0, 1.5)]
    all_ended(runs)

    waits = [run.refresh().result - run.created_at.timestamp() for run in runs]
    late = [wait - seconds for wait, seconds in zip(waits, (0.5, 1.0, 1.5), strict=True)]
    assert min(late) >= 0
    assert min(late) < 0.3


@pytest.mark.parametrize("web", [(), ("--no-web",)], ids=["http", "inline"])
def test_killed_with_runs_in_flight_it_ends_all_of_them_after_a_restart(
    brokerless: Site, web: tuple[str, ...]
) -> None:
    """Leases last a minute here, so the restart itself frees what the dead process held."""
    brokerless.hold("in.two")
    dev = brokerless.dev("--noreload", *web)
    runs = three_steps.trigger_many([None] * 40)
    eventually(lambda: sum(brokerless.times_at(run, "in.two") for run in runs) >= 4)

    dev.kill()
    brokerless.release("in.two")
    again = brokerless.dev("--noreload", *web)

    assert all_ended(runs, seconds=30) == ["completed"]
    assert {tuple(recorded(run)) for run in runs} == {tuple(STEPS)}
    assert max(brokerless.times_at(run, f"in.{step}") for run in runs for step in STEPS) <= 2
    assert "resumed" in again.output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("web", [(), ("--no-web",)], ids=["web", "no web"])
def test_a_signal_ends_it_within_a_second_without_a_traceback(
    brokerless: Site, web: tuple[str, ...], number: int
) -> None:
    dev = brokerless.dev("--noreload", *web)
    assert all_ended([once.trigger()]) == ["completed"]
    begun = time.monotonic()

    dev.signal(number)
    code = dev.ends()

    assert (code, time.monotonic() - begun < 1) == (0, True), dev.output
    assert "Traceback" not in dev.output


def test_ended_in_the_middle_of_a_step_it_gives_the_run_back_and_charges_nothing(
    brokerless: Site,
) -> None:
    brokerless.hold("in.only")
    dev = brokerless.dev("--noreload", "--no-web")
    run = once.trigger()
    brokerless.reaches(run, "in.only")
    begun = time.monotonic()

    dev.signal(signal.SIGINT)

    assert dev.ends() == 0
    assert time.monotonic() - begun < 1.5
    held = run.deliveries.values_list("leased_by", "begun", "deaths")
    assert list(held) == [("", "", 0)]
    brokerless.release("in.only")
    brokerless.dev("--noreload", "--no-web")
    assert all_ended([run]) == ["completed"]


def test_a_changed_file_restarts_it_cleanly_and_its_runs_go_on(
    brokerless: Site, tmp_path: Path
) -> None:
    watched = tmp_path / "watched_module.py"
    watched.write_text("VALUE = 1\n")
    path = f"{tmp_path}:{brokerless.env['PYTHONPATH']}"
    brokerless.hold("in.only")
    dev = brokerless.dev(PYTHONPATH=path, WORKER_WATCHED="watched_module")
    run = once.trigger()
    brokerless.reaches(run, "in.only")

    change_until_noticed(watched, dev)
    dev.says("CONTROL-C", times=2)
    brokerless.release("in.only")

    assert all_ended([run], seconds=20) == ["completed"]
    assert "Traceback" not in dev.output
    dev.signal_group(signal.SIGINT)
    assert dev.ends() == 0
    assert "Traceback" not in dev.output


def test_without_a_worker_it_only_serves(brokerless: Site) -> None:
    dev = brokerless.dev("--noreload", "--no-worker")
    run = once.trigger()

    assert httpx.get(f"{address_of(dev)}nowhere/").status_code == 404
    brokerless.dev("--noreload", "--no-web")
    assert all_ended([run]) == ["completed"]
    assert "POST" not in dev.output


def test_with_a_broker_in_the_settings_it_uses_that(site: Site) -> None:
    dev = site.dev("--noreload")

    run = once.trigger()

    assert all_ended([run], seconds=20) == ["completed"]
    assert re.search(r"broker redis://", dev.output)


def test_it_adds_the_tick_to_its_own_beat(brokerless: Site) -> None:
    dev = brokerless.dev("--noreload", "--no-web", settings={"SWEEP_INTERVAL": 1})

    dev.says("Task django_workflow.sweep")


@pytest.mark.parametrize(
    ("options", "why"),
    [((), "DEBUG is False"), (("--force", "--no-web", "--no-worker"), "leave nothing to do")],
    ids=["no DEBUG", "nothing to do"],
)
def test_what_cannot_be_meant_is_refused(
    brokerless: Site, options: tuple[str, ...], why: str
) -> None:
    refused = brokerless.start("manage.py", "workflow_dev", *options)

    assert refused.ends() == 1
    assert why in refused.output
    assert "Traceback" not in refused.output


def test_force_starts_it_without_debug(brokerless: Site) -> None:
    dev = brokerless.dev("--noreload", "--no-web", "--force", WORKER_DEBUG="0")

    assert all_ended([once.trigger()]) == ["completed"]
    assert dev.popen.poll() is None
